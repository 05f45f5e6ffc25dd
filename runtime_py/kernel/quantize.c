/* Activations to 8 bits, the way llama.cpp does it, so that the integer products are the same:
 * q = round(x * 127 / amax) to nearest even, over blocks of 32 with the scale amax / 127 rounded
 * to f16 (its Q8_0), or over blocks of 256 with a scale in f32 (its Q8_K).
 */
#include "numeric.h"

bool uses_block32(uint32_t type) { return type_block(type) == 32; }
bool uses_block256(uint32_t type) { return type_block(type) == 256; }

INLINE float largest_magnitude(const float *x, uint32_t n) {
  v128_t most = wasm_f32x4_const_splat(0.0f), least = most;
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t four = wasm_v128_load(x + i);
    most = wasm_f32x4_pmax(most, four);
    least = wasm_f32x4_pmin(least, four);
  }
  return largest_f32x4(wasm_f32x4_pmax(most, wasm_f32x4_neg(least)));
}

/* Four values times `inverse`, rounded. What is not a number becomes -127 in every host. */
INLINE v128_t round4(const float *x, v128_t inverse) {
  const v128_t rounder = wasm_f32x4_const_splat(ROUNDER), lowest = wasm_f32x4_const_splat(ROUNDER - 127.0f);
  v128_t shifted = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x), inverse), rounder);
  return wasm_i32x4_sub(wasm_f32x4_pmax(lowest, shifted), rounder);
}
/* Eight of them as int16; that they are held to 127 never shows on finite input. */
INLINE v128_t round8(const float *x, v128_t inverse) {
  v128_t q = wasm_i16x8_narrow_i32x4(round4(x, inverse), round4(x + 4, inverse));
  return wasm_i16x8_min(q, wasm_i16x8_const_splat(127));
}

/* 32 values of row-relative column `k`: rounded, stored, summed. */
INLINE void quantize_32(const float *x, float inverse, bool split, Quantized *out, uint64_t at) {
  v128_t inverse4 = wasm_f32x4_splat(inverse);
  int32_t sums[2];
  for (uint32_t h = 0; h < 2; h++) {
    v128_t a = round8(x + 16 * h, inverse4), b = round8(x + 16 * h + 8, inverse4);
#ifdef __wasm_relaxed_simd__
    v128_t q = wasm_i8x16_narrow_i16x8(a, b), zero = wasm_i8x16_const_splat(0);
    v128_t plus = wasm_i8x16_max(q, zero), minus = wasm_i8x16_max(wasm_i8x16_neg(q), zero);
    wasm_v128_store(out->q + at + 16 * h, q);
    if (split) {
      wasm_v128_store(out->split + 2 * (at + 16 * h), wasm_i32x4_shuffle(plus, minus, 0, 4, 1, 5));
      wasm_v128_store(out->split + 2 * (at + 16 * h) + 16, wasm_i32x4_shuffle(plus, minus, 2, 6, 3, 7));
    }
#else
    (void)split;
    wasm_v128_store(out->q + at + 16 * h, a);
    wasm_v128_store(out->q + at + 16 * h + 8, b);
#endif
    v128_t pairs = wasm_i32x4_dot_i16x8(wasm_i16x8_add(a, b), wasm_i16x8_const_splat(1));
    int32_t first = wasm_i32x4_extract_lane(pairs, 0) + wasm_i32x4_extract_lane(pairs, 2);
    int32_t second = wasm_i32x4_extract_lane(pairs, 1) + wasm_i32x4_extract_lane(pairs, 3);
    sums[h] = first + second;
#ifdef MLR_NARROW
    int8_t *splat = out->splat + 4 * (at + 16 * h);
    wasm_v128_store(splat, wasm_i32x4_shuffle(q, q, 0, 0, 0, 0));
    wasm_v128_store(splat + 16, wasm_i32x4_shuffle(q, q, 1, 1, 1, 1));
    wasm_v128_store(splat + 32, wasm_i32x4_shuffle(q, q, 2, 2, 2, 2));
    wasm_v128_store(splat + 48, wasm_i32x4_shuffle(q, q, 3, 3, 3, 3));
    out->minus16[at / 8 + 2 * h] = (int16_t)-first;
    out->minus16[at / 8 + 2 * h + 1] = (int16_t)-second;
#endif
    out->sum16[at / 16 + h] = (int16_t)sums[h];
  }
#ifdef MLR_NARROW
  for (uint32_t i = 0; i < 2; i++)
    out->minus32[at / 16 + i] = (int16_t)(out->minus16[at / 8 + i] + out->minus16[at / 8 + 2 + i]);
#endif
  out->sum32[at / 32] = (int16_t)(sums[0] + sums[1]);
}

/* Quantize `cols` floats of x, which becomes row `row`, in the forms asked for. They begin at column
 * `first`, where a block begins in each of these forms. */
void quantize_row(Activations *a, const float *x, uint32_t row, uint32_t first, uint32_t cols, bool block32,
                  bool block256) {
  if (block32) {
    Quantized *out = &a->block32;
    uint64_t start = (uint64_t)row * out->cols;
    for (uint32_t k = first; k < first + cols; k += 32) {
      float amax = largest_magnitude(x + k, 32);
      out->scale[(start + k) / 32] = f16_to_f32(f32_to_f16(amax / 127.0f));
      quantize_32(x + k, amax > 0.0f ? 127.0f / amax : 0.0f, true, out, start + k);
    }
  }
  if (block256) {
    Quantized *out = &a->block256;
    uint64_t start = (uint64_t)row * out->cols;
    for (uint32_t k = first; k < first + cols; k += 256) {
      float amax = largest_magnitude(x + k, 256);
      float inverse = amax > 0.0f ? 127.0f / amax : 0.0f;
      float scale = amax > 0.0f ? 1.0f / inverse : 0.0f;
      for (uint32_t i = k; i < k + 256; i += 32) {
        out->scale[(start + i) / 32] = scale;
        quantize_32(x + i, inverse, false, out, start + i);
      }
    }
  }
}
