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

/* Four f16 held in the low halves of sign-extended 32-bit lanes, as f32. The exponent and the
 * fraction move into place and 2^112 makes up for the other bias; subnormals come out right.
 * Infinities and NaN become numbers of 65536 and more: they have no meaning in weights. */
INLINE v128_t f16_lanes_to_f32(v128_t halves) {
  v128_t bits = wasm_v128_and(wasm_i32x4_shl(halves, 13), wasm_i32x4_const_splat((int)0x8fffffff));
  return wasm_f32x4_mul(bits, wasm_f32x4_const_splat(0x1p112f));
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

/* exp of four floats: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for exp(r) (Cephes
 * expf coefficients, error under 2 units in the last place), then 2^n by the exponent bits.
 * Below -87.3 the result is 0, above 88.7 it saturates at about 2^127. */
INLINE v128_t exp_f32x4(v128_t x) {
  v128_t low = wasm_f32x4_lt(x, wasm_f32x4_const_splat(-87.33654f));
  x = wasm_f32x4_pmin(wasm_f32x4_const_splat(88.02f), x);
  x = wasm_f32x4_pmax(wasm_f32x4_const_splat(-87.33654f), x);
  v128_t n = wasm_f32x4_nearest(wasm_f32x4_mul(x, wasm_f32x4_const_splat(1.44269504f)));
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
  v128_t exponent = wasm_i32x4_shl(wasm_i32x4_trunc_sat_f32x4(n), 23);
  return wasm_v128_andnot(wasm_i32x4_add(p, exponent), low);
}
INLINE float exp_f32(float x) {
  return wasm_f32x4_extract_lane(exp_f32x4(wasm_f32x4_splat(x)), 0);
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
