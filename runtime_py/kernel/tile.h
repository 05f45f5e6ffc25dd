/* What the inner loops share: the integer dot product of each build, tokens, nibbles.
 *
 * The loops over groups are kept as loops (KEEP_LOOP). Unrolled they would be slower: wasmtime's
 * compiler moves every addition to where its sum is used, so that all the weights and activations
 * of a block would be live at once, far more than the 16 vector registers there are.
 *
 * The builds differ in the dot product only. Relaxed: one instruction multiplies 16 weights by a
 * splat group of four activations; its second operand has 7 bits, which the unsigned 4- to 6-bit
 * weights fit, and which for 8-bit weights the activations are made to fit, by splitting them
 * into their positive and negative parts. No intermediate sum can saturate, so the choice that
 * the instruction leaves to the hardware never shows. Baseline: 16-bit products of widened bytes.
 * All give the same integers.
 */
#ifndef MLR_TILE_H
#define MLR_TILE_H

#include "numeric.h"
#include "units.h"

#define KEEP_LOOP _Pragma("clang loop unroll(disable) vectorize(disable)")

enum { MAX_N = 4 }; /* tokens at a time */
/* Groups in one turn of a loop: for one token several, so that the loop costs little. */
#define UNROLL(n) ((n) == 1 ? 2u : 1u)

#ifdef __wasm_relaxed_simd__
typedef const int8_t *Group;
#else
typedef const int16_t *Group;
#endif

/* What a block of columns of one token looks like to the loops below. */
typedef struct {
  Group q;
  const float *scale;
  const int16_t *sum16, *sum32;
#ifdef MLR_NARROW
  const int8_t *splat;
  const int16_t *minus16, *minus32;
#endif
} Row;

/* A Sum is that of a sub-block of columns, of four rows:
 *   sum_zero      before the first
 *   sum_offset    or so: `offset` times the activations of 16 or 32 columns from `column` on
 *   dot_unsigned  and four rows of four unsigned weights of at most 7 bits times x[0 … 3]
 *   sum_total     as 32-bit integers
 *   sum_scaled    times integers, four rows of load_scales
 *
 * The narrow build keeps it in 16 bits, two a row: its hosts make three instructions of the dot with
 * 32-bit sums and one of that with 16-bit sums. They may wrap around on the way, but not at the end:
 * with the offset a sum is that of signed weights, 16 of at most 16 in size, or 8 of 32, times at most
 * 127; without one weights are below 16, or below 32 in 16 columns, or below 4 in 128. */
#ifdef MLR_NARROW
typedef v128_t Sum;
enum { NARROW = 1 };

INLINE Sum sum_zero(void) { return wasm_i16x8_const_splat(0); }
INLINE Sum sum_offset(const Row *x, uint32_t column, uint32_t columns, int32_t offset) {
  const int16_t *minus = columns == 32 ? x->minus32 + column / 16 : x->minus16 + column / 8;
  return wasm_i16x8_mul(splat_32(minus), wasm_i16x8_splat((int16_t)-offset));
}
INLINE Sum dot_unsigned(Sum s, v128_t w, Group x) {
  return wasm_i16x8_add(s, wasm_i16x8_relaxed_dot_i8x16_i7x16(splat_32(x), w));
}
INLINE v128_t sum_scaled(Sum s, v128_t scales) { return wasm_i32x4_dot_i16x8(s, scales); }
INLINE v128_t sum_total(Sum s) { return sum_scaled(s, wasm_i16x8_const_splat(1)); }
INLINE v128_t first_scales(v128_t s) { return wasm_i16x8_shuffle(s, s, 0, 0, 1, 1, 2, 2, 3, 3); }
INLINE v128_t last_scales(v128_t s) { return wasm_i16x8_shuffle(s, s, 4, 4, 5, 5, 6, 6, 7, 7); }
INLINE v128_t every_second(v128_t s, uint32_t from) {
  if (from) return wasm_i16x8_shuffle(s, s, 1, 1, 3, 3, 5, 5, 7, 7);
  return wasm_i16x8_shuffle(s, s, 0, 0, 2, 2, 4, 4, 6, 6);
}
#else
enum { NARROW = 0 };

#ifdef __wasm_relaxed_simd__
typedef v128_t Sum;

INLINE Sum sum_start(int32_t offset) { return wasm_i32x4_splat(offset); }
INLINE v128_t sum_total(Sum s) { return s; }
INLINE Sum dot_unsigned(Sum s, v128_t w, Group x) {
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(splat_32(x), w, s);
}
#else
typedef struct {
  v128_t low, high; /* rows 0, 0, 1, 1 and 2, 2, 3, 3: two partial sums each */
} Sum;

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
INLINE Sum sum_zero(void) { return sum_start(0); }
INLINE Sum sum_offset(const Row *x, uint32_t column, uint32_t columns, int32_t offset) {
  return sum_start(offset * (columns == 32 ? x->sum32[column / 32] : x->sum16[column / 16]));
}
INLINE v128_t sum_scaled(Sum s, v128_t scales) { return wasm_i32x4_mul(sum_total(s), scales); }
INLINE v128_t first_scales(v128_t s) { return wasm_i32x4_extend_low_i16x8(s); }
INLINE v128_t last_scales(v128_t s) { return wasm_i32x4_extend_high_i16x8(s); }
INLINE v128_t every_second(v128_t s, uint32_t from) { /* none is negative */
  return from ? wasm_u32x4_shr(s, 16) : wasm_v128_and(s, wasm_i32x4_const_splat(0xffff));
}
#endif

INLINE v128_t scaled(v128_t integers, v128_t scale) {
  return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(integers), scale);
}
INLINE Row row_at(const Quantized *x, uint32_t token, uint32_t column) {
  uint64_t at = (uint64_t)token * x->cols + column;
  Row row = {.q = x->q + at, .scale = x->scale + at / 32, .sum16 = x->sum16 + at / 16,
             .sum32 = x->sum32 + at / 32};
#ifdef MLR_NARROW
  row.splat = x->splat + 4 * at;
  row.minus16 = x->minus16 + at / 8;
  row.minus32 = x->minus32 + at / 16;
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

/* The starts of the sums of 16 or 32 columns. */
INLINE void begin_sums(Sum sum[][2], const Row *row, uint32_t column, uint32_t columns, int32_t offset,
                       uint32_t n) {
  for (uint32_t t = 0; t < n; t++)
    sum[t][0] = sum[t][1] = offset ? sum_offset(&row[t], column, columns, offset) : sum_zero();
}

/* part += sum times the integer scales of a sub-block's rows. */
INLINE void add_scaled(v128_t part[][2], Sum sum[][2], const v128_t scales[2], uint32_t n) {
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t h = 0; h < 2; h++)
      part[t][h] = wasm_i32x4_add(part[t][h], sum_scaled(sum[t][h], scales[h]));
}
/* The 8 scales of a sub-block, of 8 bits, as sum_scaled takes them. */
INLINE void load_scales(const uint8_t *bytes, bool with_sign, v128_t scales[2]) {
  v128_t all = with_sign ? wasm_i16x8_load8x8(bytes) : wasm_u16x8_load8x8(bytes);
  scales[0] = first_scales(all);
  scales[1] = last_scales(all);
}

/* sum += weights of `groups` groups of four columns times the activations from `column` on. */
INLINE void add_dots(Sum sum[][2], const v128_t *w, uint32_t groups, const Row *row, uint32_t column,
                 uint32_t n) {
  for (uint32_t g = 0; g < groups; g++)
    for (uint32_t t = 0; t < n; t++)
      for (uint32_t h = 0; h < 2; h++)
        sum[t][h] = dot_unsigned(sum[t][h], w[2 * g + h], row[t].q + column + 4 * g);
}

/* 32 columns from `column` on: 8 groups of nibbles, or 2 units of 5 bits. */
INLINE void dots_of_32(Sum sum[][2], const uint8_t *groups, bool fifth, const Row *row, uint32_t column,
                       uint32_t n) {
  v128_t w[8];
  if (fifth) {
    KEEP_LOOP for (uint32_t u = 0; u < 2; u++) {
      unpack_5(groups + UNIT_5 * u, w);
      add_dots(sum, w, 4, row, column + 16 * u, n);
    }
  } else {
    KEEP_LOOP for (uint32_t h = 0; h < 8; h += 2) for (uint32_t g = h; g < h + 2; g++) {
      v128_t raw = wasm_v128_load(groups + 16 * g);
      w[0] = low_nibbles(raw);
      w[1] = high_nibbles(raw);
      add_dots(sum, w, 1, row, column + 4 * g, n);
    }
  }
}

/* A tile times `n` tokens from `token` on, 1, 2 or SOME_TOKENS of them: a function for each type. */
#ifdef __wasm_relaxed_simd__
enum { SOME_TOKENS = 4 };
#else
enum { SOME_TOKENS = 2 };
#endif
typedef void TileTimes(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token,
                       uint32_t n, v128_t out[][2]);
TileTimes tile_f32, tile_f16, tile_bf16, tile_q4_0, tile_q4_1, tile_q5_0, tile_q5_1, tile_q8_0, tile_iq4_nl,
    tile_mxfp4, tile_q2_k, tile_q3_k, tile_q4_k, tile_q5_k, tile_q6_k, tile_iq4_xs, tile_ternary;

/* Defines one of them from what it calls: a copy for each number of tokens. */
#define UNROLLED(name, call)                                                                        \
  UNROLLED_FOR(name##_1, 1, call)                                                                   \
  UNROLLED_FOR(name##_2, 2, call)                                                                   \
  UNROLLED_FOR(name##_some, SOME_TOKENS, call)                                                      \
  void name(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token, uint32_t n, \
            v128_t out[][2]) {                                                                      \
    if (n == 1)                                                                                     \
      name##_1(w, tile, a, token, out);                                                             \
    else if (SOME_TOKENS > 2 && n == 2)                                                             \
      name##_2(w, tile, a, token, out);                                                             \
    else                                                                                            \
      name##_some(w, tile, a, token, out);                                                          \
  }
#define UNROLLED_FOR(name, count, call)                                                             \
  APART void name(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token,       \
                  v128_t out[][2]) {                                                                \
    const uint32_t n = count;                                                                       \
    call;                                                                                           \
  }

#endif
