/* One head's query, key or value as 16-bit integers times a scale: what attention multiplies.
 *
 * Products of such rows are summed in 32 bits and must fit them. A query and a key each have a
 * Euclidean norm below 2^15.5, so their product and all parts of it are below 2^31 (Cauchy-Schwarz);
 * and so a number errs by about 2^-17 of the row's norm. Values have 14 bits, which leaves 17 to the
 * weights they are mixed with (attention.c).
 */
#include "attention.h"

/* Rounding adds up to half the root of 4096 columns to a norm, and rounding the scale to f16 one part
 * in 2048. */
#define LARGEST_NORM 46280.0f
#define LARGEST_ENTRY 32750.0f
#define LARGEST_VALUE 16375.0f

/* Scales are stored as f16 of so many times themselves, and are never subnormal. */
#define SCALE_UNIT 0x1p11f
#define SMALLEST_SCALE 0x1p-14f

float head_scale(uint16_t scale) { return f16_to_f32(scale & 0x7fff) * (1.0f / SCALE_UNIT); }

/* Four of them, as integers. */
v128_t head_scales(v128_t scales) {
  v128_t bits = wasm_v128_and(wasm_i32x4_shl(scales, 13), wasm_i32x4_const_splat(0x0fffffff));
  return wasm_f32x4_mul(bits, wasm_f32x4_const_splat(0x1p112f / SCALE_UNIT));
}

/* The scale of a query or a key of this norm, whose entries are well below it; of a value. */
float key_scale(float norm) { return larger(norm / LARGEST_NORM, SMALLEST_SCALE / SCALE_UNIT); }
float value_scale(float largest) { return larger(largest / LARGEST_VALUE, SMALLEST_SCALE / SCALE_UNIT); }

INLINE v128_t round_4(const float *x, v128_t inverse) {
  const v128_t rounder = wasm_f32x4_const_splat(ROUNDER);
  v128_t rounded = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x), inverse), rounder);
  return wasm_i32x4_sub(rounded, rounder);
}

/* x (head_dim) divided by a scale as stored, rounded; out (head_width), the rest zeros. */
static void round_head(const float *x, uint16_t scale, int16_t *out) {
  uint32_t dim = weights.config.head_dim, i = 0;
  v128_t inverse = wasm_f32x4_splat(1.0f / head_scale(scale)), zero = wasm_i32x4_const_splat(0);
  for (; i + 8 <= dim; i += 8)
    wasm_v128_store(out + i, wasm_i16x8_narrow_i32x4(round_4(x + i, inverse), round_4(x + i + 4, inverse)));
  if (i < dim) wasm_v128_store(out + i, wasm_i16x8_narrow_i32x4(round_4(x + i, inverse), zero));
}

/* A query or a key; returns the scale as stored. */
uint16_t round_key(const float *x, int16_t *out) {
  v128_t squares = wasm_f32x4_const_splat(0.0f), most = squares;
  for (uint32_t i = 0; i < weights.config.head_dim; i += 4) {
    v128_t four = wasm_v128_load(x + i);
    squares = wasm_f32x4_add(squares, wasm_f32x4_mul(four, four));
    most = wasm_f32x4_pmax(most, wasm_f32x4_abs(four));
  }
  float norm = __builtin_sqrtf(sum_f32x4(squares));
  uint16_t scale = f32_to_f16(SCALE_UNIT * larger(key_scale(norm), largest_f32x4(most) / LARGEST_ENTRY));
  round_head(x, scale, out);
  return scale;
}

uint16_t round_value(const float *x, int16_t *out) {
  v128_t most = wasm_f32x4_const_splat(0.0f);
  for (uint32_t i = 0; i < weights.config.head_dim; i += 4)
    most = wasm_f32x4_pmax(most, wasm_f32x4_abs(wasm_v128_load(x + i)));
  uint16_t scale = f32_to_f16(SCALE_UNIT * value_scale(largest_f32x4(most)));
  round_head(x, scale, out);
  return scale;
}
