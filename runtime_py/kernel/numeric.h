/* Elementary functions and number formats, in IEEE arithmetic only, so that every host agrees. */
#ifndef MLR_NUMERIC_H
#define MLR_NUMERIC_H

#include "kernel.h"

INLINE float float_of(uint32_t bits) {
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
INLINE uint32_t bits_of(float f) {
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  return bits;
}

/* A constant that is out of loops. Clang puts constants where they are used; wasmtime's compiler moves
 * them, V8 makes them anew wherever they stand, of several instructions. */
INLINE v128_t constant(v128_t v) {
#ifndef MLR_NARROW
  __asm__("" : "+r"(v));
#endif
  return v;
}

/* Four bytes, four times. Wasmtime's compiler makes a splat out of a scalar load, two more instructions
 * of the vector units. A vector load and a shuffle are one; what is read beyond is some other part of
 * the state. The empty `asm` keeps clang from making a splat of them again. */
#ifdef MLR_NARROW
INLINE v128_t splat_32(const void *p) {
  v128_t v = wasm_v128_load(p);
  __asm__("" : "+r"(v));
  return wasm_i32x4_shuffle(v, v, 0, 0, 0, 0);
}
#else
INLINE v128_t splat_32(const void *p) { return wasm_v128_load32_splat(p); }
#endif

/* Four f16 held in the low halves of sign-extended 32-bit lanes, as f32. The exponent and the
 * fraction move into place and 2^112 makes up for the other bias; subnormals come out right.
 * Infinities and NaN become numbers of 65536 and more: they have no meaning in weights. */
INLINE v128_t f16_lanes_to_f32(v128_t halves) {
  v128_t mask = constant(wasm_i32x4_const_splat((int)0x8fffffff));
  v128_t bits = wasm_v128_and(wasm_i32x4_shl(halves, 13), mask);
  return wasm_f32x4_mul(bits, constant(wasm_f32x4_const_splat(0x1p112f)));
}
INLINE v128_t load_f16x4(const uint16_t *p) { return f16_lanes_to_f32(wasm_i32x4_load16x4(p)); }
INLINE float f16_to_f32(uint16_t h) {
  return float_of(((uint32_t)(int16_t)h << 13) & 0x8fffffffu) * 0x1p112f;
}

/* Round to nearest even; beyond the range to infinity, NaN to NaN. */
INLINE uint16_t f32_to_f16(float f) {
  uint32_t bits = bits_of(f), sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  if (bits >= 0x47800000u) return (uint16_t)(sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u));
  if (bits < 0x38800000u) /* subnormal: let the addition do the rounding */
    return (uint16_t)(sign | (bits_of(float_of(bits) + 0.5f) - 0x3f000000u));
  return (uint16_t)(sign | ((bits + 0xc8000fffu + ((bits >> 13) & 1u)) >> 13));
}

/* Added to a number below 2^22 it leaves the nearest integer, ties to even, in the last places. Hosts
 * make one instruction of an addition and several of a conversion. */
#define ROUNDER 0x1.8p23f

/* exp of four floats: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for exp(r) (Cephes
 * expf coefficients, error under 2 units in the last place), then 2^n by the exponent bits.
 * Below -87.3 the result is 0, above 88.7 it saturates at about 2^127. */
INLINE v128_t exp_f32x4(v128_t x) {
  v128_t low = wasm_f32x4_lt(x, wasm_f32x4_const_splat(-87.33654f));
  x = wasm_f32x4_pmin(wasm_f32x4_const_splat(88.02f), x);
  x = wasm_f32x4_pmax(wasm_f32x4_const_splat(-87.33654f), x);
  v128_t rounder = wasm_f32x4_const_splat(ROUNDER);
  v128_t shifted = wasm_f32x4_add(wasm_f32x4_mul(x, wasm_f32x4_const_splat(1.44269504f)), rounder);
  v128_t n = wasm_f32x4_sub(shifted, rounder);
  v128_t r = wasm_f32x4_sub(x, wasm_f32x4_mul(n, wasm_f32x4_const_splat(0.693359375f)));
  r = wasm_f32x4_sub(r, wasm_f32x4_mul(n, wasm_f32x4_const_splat(-2.12194440e-4f)));
  v128_t p = wasm_f32x4_const_splat(1.9875691500e-4f);
#define STEP(c) p = wasm_f32x4_add(wasm_f32x4_mul(p, r), wasm_f32x4_const_splat(c))
  STEP(1.3981999507e-3f);
  STEP(8.3334519073e-3f);
  STEP(4.1665795894e-2f);
  STEP(1.6666665459e-1f);
  STEP(5.0000001201e-1f);
#undef STEP
  p = wasm_f32x4_mul(p, wasm_f32x4_mul(r, r));
  p = wasm_f32x4_add(wasm_f32x4_add(p, r), wasm_f32x4_const_splat(1.0f));
  v128_t exponent = wasm_i32x4_shl(shifted, 23);
  return wasm_v128_andnot(wasm_i32x4_add(p, exponent), low);
}
/* For |x| < 0.625 an odd polynomial (Cephes tanhf), else 1 - 2 / (exp(2 |x|) + 1) with x's sign. */
INLINE v128_t tanh_f32x4(v128_t x) {
  v128_t one = wasm_f32x4_const_splat(1.0f), magnitude = wasm_f32x4_abs(x), z = wasm_f32x4_mul(x, x);
  v128_t p = wasm_f32x4_const_splat(-5.70498872745e-3f);
#define STEP(c) p = wasm_f32x4_add(wasm_f32x4_mul(p, z), wasm_f32x4_const_splat(c))
  STEP(2.06390887954e-2f);
  STEP(-5.37397155531e-2f);
  STEP(1.33314422036e-1f);
  STEP(-3.33332819422e-1f);
#undef STEP
  v128_t small = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_mul(p, z), x), x);
  v128_t e = wasm_f32x4_add(exp_f32x4(wasm_f32x4_add(magnitude, magnitude)), one);
  v128_t large = wasm_f32x4_sub(one, wasm_f32x4_div(wasm_f32x4_const_splat(2.0f), e));
  large = wasm_v128_or(large, wasm_v128_and(x, wasm_i32x4_const_splat((int)0x80000000)));
  return wasm_v128_bitselect(small, large, wasm_f32x4_lt(magnitude, wasm_f32x4_const_splat(0.625f)));
}

/* cap * tanh(x / cap) */
INLINE v128_t soft_cap_f32x4(v128_t x, v128_t cap) {
  return wasm_f32x4_mul(tanh_f32x4(wasm_f32x4_div(x, cap)), cap);
}

/* x / 2 * erfc(-x / sqrt(2)). erfc(z) for z >= 0 is t exp(-z^2 + P(t)) with t = 1 / (1 + z / 2), to
 * 1.2e-7 of its value (the Chebyshev fit of Numerical Recipes); erfc(-z) = 2 - erfc(z). */
INLINE v128_t gelu_erf_f32x4(v128_t x) {
  v128_t one = wasm_f32x4_const_splat(1.0f), half = wasm_f32x4_const_splat(0.5f);
  v128_t z = wasm_f32x4_mul(wasm_f32x4_abs(x), wasm_f32x4_const_splat(0.70710678118654752f));
  v128_t t = wasm_f32x4_div(one, wasm_f32x4_add(one, wasm_f32x4_mul(z, half)));
  v128_t p = wasm_f32x4_const_splat(0.17087277f);
#define STEP(c) p = wasm_f32x4_add(wasm_f32x4_mul(p, t), wasm_f32x4_const_splat(c))
  STEP(-0.82215223f);
  STEP(1.48851587f);
  STEP(-1.13520398f);
  STEP(0.27886807f);
  STEP(-0.18628806f);
  STEP(0.09678418f);
  STEP(0.37409196f);
  STEP(1.00002368f);
  STEP(-1.26551223f);
#undef STEP
  v128_t erfc = wasm_f32x4_mul(t, exp_f32x4(wasm_f32x4_sub(p, wasm_f32x4_mul(z, z))));
  v128_t share = wasm_f32x4_mul(erfc, half); /* of the normal distribution beyond |x| */
  v128_t negative = wasm_f32x4_lt(x, wasm_f32x4_const_splat(0.0f));
  return wasm_f32x4_mul(x, wasm_v128_bitselect(share, wasm_f32x4_sub(one, share), negative));
}
INLINE float exp_f32(float x) {
  return wasm_f32x4_extract_lane(exp_f32x4(wasm_f32x4_splat(x)), 0);
}

INLINE float larger(float a, float b) { return a > b ? a : b; }
INLINE float largest_f32x4(v128_t v) {
  return larger(larger(wasm_f32x4_extract_lane(v, 0), wasm_f32x4_extract_lane(v, 1)),
                larger(wasm_f32x4_extract_lane(v, 2), wasm_f32x4_extract_lane(v, 3)));
}
INLINE float sum_f32x4(v128_t v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
         (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}

/* numeric.c, double precision, for the rotary tables */
double exp_f64(double x);
double log_f64(double x);
void sin_cos_f64(double x, double *sine, double *cosine);

#endif
