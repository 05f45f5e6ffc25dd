/* What the inner loops share: the integer dot product of each build, tokens, nibbles.
 *
 * The loops over groups are kept as loops (KEEP_LOOP). Unrolled they would be slower: wasmtime's
 * compiler moves every addition to where its sum is used, so that all the weights and activations
 * of a block would be live at once, far more than the 16 vector registers there are.
 *
 * The two builds differ in the dot product only. Relaxed: one instruction multiplies 16 weights by a
 * splat group of four activations; its second operand has 7 bits, which the unsigned 4- to 6-bit
 * weights fit, and which for 8-bit weights the activations are made to fit, by splitting them
 * into their positive and negative parts. No intermediate sum can saturate, so the choice that
 * the instruction leaves to the hardware never shows. Baseline: 16-bit products of widened bytes.
 * Both give the same integers.
 */
#ifndef MLR_TILE_H
#define MLR_TILE_H

#include "numeric.h"

#define KEEP_LOOP _Pragma("clang loop unroll(disable) vectorize(disable)")

enum { MAX_N = 4 }; /* tokens at a time */
/* Groups in one turn of a loop: for one token several, so that the loop costs little. */
#define UNROLL(n) ((n) == 1 ? 2u : 1u)

#ifdef __wasm_relaxed_simd__
typedef v128_t Sum; /* four rows */
typedef const int8_t *Group;

INLINE Sum sum_start(int32_t offset) { return wasm_i32x4_splat(offset); }
INLINE v128_t sum_total(Sum s) { return s; }
/* s += four rows of four unsigned weights of at most 7 bits times x[0..3] */
INLINE Sum dot_unsigned(Sum s, v128_t w, Group x) {
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(wasm_v128_load32_splat(x), w, s);
}
#else
typedef struct {
  v128_t low, high; /* rows 0, 0, 1, 1 and 2, 2, 3, 3: two partial sums each */
} Sum;
typedef const int16_t *Group;

INLINE Sum sum_start(int32_t offset) {
  v128_t v = wasm_i32x4_make(offset, 0, offset, 0);
  return (Sum){v, v};
}
INLINE v128_t sum_total(Sum s) {
  return wasm_i32x4_add(wasm_i32x4_shuffle(s.low, s.high, 0, 2, 4, 6),
                        wasm_i32x4_shuffle(s.low, s.high, 1, 3, 5, 7));
}
INLINE Sum dot_unsigned(Sum s, v128_t w, Group x) {
  v128_t x8 = wasm_v128_load64_splat(x);
  s.low = wasm_i32x4_add(s.low, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_low_u8x16(w), x8));
  s.high = wasm_i32x4_add(s.high, wasm_i32x4_dot_i16x8(wasm_u16x8_extend_high_u8x16(w), x8));
  return s;
}
#endif

INLINE v128_t scaled(v128_t integers, v128_t scale) {
  return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(integers), scale);
}
INLINE v128_t low_nibbles(v128_t raw) { return wasm_v128_and(raw, wasm_i8x16_const_splat(0x0f)); }
INLINE v128_t high_nibbles(v128_t raw) {
  return wasm_v128_and(wasm_u16x8_shr(raw, 4), wasm_i8x16_const_splat(0x0f));
}

/* What a block of columns of one token looks like to the loops below. */
typedef struct {
  Group q;
  const float *scale;
  const int16_t *sum16, *sum32;
#ifdef MLR_NARROW
  const int16_t *pair16;
#endif
} Row;

INLINE Row row_at(const Quantized *x, uint32_t token, uint32_t column) {
  uint64_t at = (uint64_t)token * x->cols + column;
  Row row = {.q = x->q + at, .scale = x->scale + at / 32, .sum16 = x->sum16 + at / 16,
             .sum32 = x->sum32 + at / 32};
#ifdef MLR_NARROW
  row.pair16 = x->pair16 + at / 8;
#endif
  return row;
}
/* Where the rows of `n` tokens begin, and the sums before the first block. */
INLINE void begin_rows(const Quantized *x, uint32_t token, uint32_t n, Row row[], v128_t out[][2]) {
  for (uint32_t t = 0; t < n; t++) {
    row[t] = row_at(x, token + t, 0);
    out[t][0] = out[t][1] = wasm_f32x4_const_splat(0.0f);
  }
}

/* part += sum times the integer scales of a sub-block's rows 0 to 3 and 4 to 7. */
INLINE void add_sub_block(v128_t part[][2], Sum sum[][2], v128_t scales0, v128_t scales1, uint32_t n) {
  for (uint32_t t = 0; t < n; t++) {
    part[t][0] = wasm_i32x4_add(part[t][0], wasm_i32x4_mul(sum_total(sum[t][0]), scales0));
    part[t][1] = wasm_i32x4_add(part[t][1], wasm_i32x4_mul(sum_total(sum[t][1]), scales1));
  }
}

/* 32 columns from `column` on, 8 four-bit groups: sum += weights times activations. For five-bit
 * weights `planes` follow, as in Q5_0. */
INLINE void dots_of_32(Sum sum[][2], const uint8_t *groups, bool fifth, const Row *row, uint32_t column,
                       uint32_t n) {
  v128_t plane0 = wasm_i64x2_const_splat(0), plane1 = plane0, bit = wasm_i8x16_const_splat(0x10);
  if (fifth) {
    plane0 = wasm_v128_load(groups + 128);
    plane1 = wasm_v128_load(groups + 144);
  }
  KEEP_LOOP for (uint32_t g = 0; g < 8; g += 2) {
    for (uint32_t u = 0; u < 2; u++) {
      v128_t raw = wasm_v128_load(groups + 16 * (g + u));
      v128_t w0 = low_nibbles(raw), w1 = high_nibbles(raw);
      if (fifth) { /* the bits of these groups are the two highest of each byte */
        w0 = wasm_v128_or(w0, wasm_v128_and(wasm_u16x8_shr(plane0, 3 - u), bit));
        w1 = wasm_v128_or(w1, wasm_v128_and(wasm_u16x8_shr(plane1, 3 - u), bit));
      }
      for (uint32_t t = 0; t < n; t++) {
        Group q = row[t].q + column + 4 * (g + u);
        sum[t][0] = dot_unsigned(sum[t][0], w0, q);
        sum[t][1] = dot_unsigned(sum[t][1], w1, q);
      }
    }
    plane0 = wasm_i16x8_shl(plane0, 2);
    plane1 = wasm_i16x8_shl(plane1, 2);
  }
}

/* The types in files of their own: a tile times `n` tokens from `token` on, 1, 2 or
 * SOME_TOKENS of them. */
#ifdef __wasm_relaxed_simd__
enum { SOME_TOKENS = 4 };
#else
enum { SOME_TOKENS = 2 };
#endif
typedef void TileTimes(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token,
                       uint32_t n, v128_t out[][2]);
TileTimes tile_legacy, tile_k, tile_table, tile_ternary;

/* Defines one of them from the file's INLINE `times`, a copy for each number of tokens. */
#define UNROLLED_TIMES(name)                                                                     \
  void name(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token, uint32_t n, \
            v128_t out[][2]) {                                                                   \
    if (n == 1)                                                                                  \
      times(w, tile, a, token, 1, out);                                                          \
    else if (SOME_TOKENS > 2 && n == 2)                                                          \
      times(w, tile, a, token, 2, out);                                                          \
    else                                                                                         \
      times(w, tile, a, token, SOME_TOKENS, out);                                                \
  }

#endif
