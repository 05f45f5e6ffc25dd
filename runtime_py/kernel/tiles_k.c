/* Q2_K, Q3_K and Q5_K: 256 columns in sub-blocks, each with an integer scale. The sums of a block
 * stay integers: at most 256 * 31 * 127 * 63 = 6.4e7 for Q5_K, less for the others. */
#include "tile.h"

enum {
  UNIT_Q2_K = 32, /* bytes of 16 columns */
  UNIT_Q3_K = 48,
  UNIT_Q5_K = 80,
};

/* Two groups of a unit of 16 columns: rows 0-3 and 4-7 of the first, rows 0-3 and 4-7 of the second.
 * The plane of one-bit groups has these two lowest. */
INLINE void unpack_pairs(v128_t raw, v128_t w[4]) {
  v128_t mask = wasm_i8x16_const_splat(3);
  w[0] = wasm_v128_and(raw, mask);
  w[1] = wasm_v128_and(wasm_u16x8_shr(raw, 2), mask);
  w[2] = wasm_v128_and(wasm_u16x8_shr(raw, 4), mask);
  w[3] = wasm_v128_and(wasm_u16x8_shr(raw, 6), mask);
}
INLINE void unpack_thirds(v128_t raw, v128_t plane, v128_t w[4]) {
  v128_t bit = wasm_i8x16_const_splat(4);
  unpack_pairs(raw, w);
  w[0] = wasm_v128_or(w[0], wasm_v128_and(wasm_i16x8_shl(plane, 2), bit));
  w[1] = wasm_v128_or(w[1], wasm_v128_and(wasm_i16x8_shl(plane, 1), bit));
  w[2] = wasm_v128_or(w[2], wasm_v128_and(plane, bit));
  w[3] = wasm_v128_or(w[3], wasm_v128_and(wasm_u16x8_shr(plane, 1), bit));
}
INLINE void unpack_fifths(v128_t first, v128_t second, v128_t plane, v128_t w[4]) {
  v128_t bit = wasm_i8x16_const_splat(16);
  w[0] = wasm_v128_or(low_nibbles(first), wasm_v128_and(wasm_i16x8_shl(plane, 4), bit));
  w[1] = wasm_v128_or(high_nibbles(first), wasm_v128_and(wasm_i16x8_shl(plane, 3), bit));
  w[2] = wasm_v128_or(low_nibbles(second), wasm_v128_and(wasm_i16x8_shl(plane, 2), bit));
  w[3] = wasm_v128_or(high_nibbles(second), wasm_v128_and(wasm_i16x8_shl(plane, 1), bit));
}

/* A unit of 16 columns from `column` on: sum += weights times activations. */
INLINE void dots_of_16(Sum sum[][2], const uint8_t *unit, uint32_t type, const Row *row, uint32_t column,
                       uint32_t n) {
  v128_t plane = wasm_i64x2_const_splat(0);
  if (type == TYPE_Q3_K) plane = wasm_v128_load(unit + 32);
  if (type == TYPE_Q5_K) plane = wasm_v128_load(unit + 64);
  const uint32_t step = n == 1 ? 2 : 1; /* for one token both halves in one turn */
  KEEP_LOOP for (uint32_t h = 0; h < 2; h += step) for (uint32_t u = h; u < h + step; u++) {
    v128_t w[4];
    if (type == TYPE_Q2_K)
      unpack_pairs(wasm_v128_load(unit + 16 * u), w);
    else if (type == TYPE_Q3_K)
      unpack_thirds(wasm_v128_load(unit + 16 * u), plane, w);
    else
      unpack_fifths(wasm_v128_load(unit + 32 * u), wasm_v128_load(unit + 32 * u + 16), plane, w);
    plane = wasm_u16x8_shr(plane, 4); /* what comes over from the next byte lies above the four bits */
    for (uint32_t t = 0; t < n; t++) {
      Group q = row[t].q + column + 8 * u;
      sum[t][0] = dot_unsigned(sum[t][0], w[0], q);
      sum[t][1] = dot_unsigned(sum[t][1], w[1], q);
      sum[t][0] = dot_unsigned(sum[t][0], w[2], q + 4);
      sum[t][1] = dot_unsigned(sum[t][1], w[3], q + 4);
    }
  }
}

/* part += sum * scale, for each token and row. */
INLINE void add_scaled(v128_t part[][2], Sum sum[][2], v128_t scale0, v128_t scale1, uint32_t n) {
  for (uint32_t t = 0; t < n; t++) {
    part[t][0] = wasm_i32x4_add(part[t][0], wasm_i32x4_mul(sum_total(sum[t][0]), scale0));
    part[t][1] = wasm_i32x4_add(part[t][1], wasm_i32x4_mul(sum_total(sum[t][1]), scale1));
  }
}

/* minimum += the minima of two sub-blocks times the sums of their activations. */
INLINE void add_minima(v128_t minimum[][2], v128_t m0, v128_t m1, const int16_t *const sums[],
                       uint32_t at, uint32_t n) {
  for (uint32_t t = 0; t < n; t++) {
    v128_t both = wasm_v128_load32_splat(sums[t] + at);
    minimum[t][0] = wasm_i32x4_add(minimum[t][0], wasm_i32x4_dot_i16x8(m0, both));
    minimum[t][1] = wasm_i32x4_add(minimum[t][1], wasm_i32x4_dot_i16x8(m1, both));
  }
}

/* The integers of one block, `b`: part and, where the type has them, minimum. */
INLINE void block_q2_k(const uint8_t *tile, uint32_t b, const Row *row, uint32_t n, v128_t part[][2],
                       v128_t minimum[][2]) {
  const int16_t *sums[MAX_N];
  for (uint32_t t = 0; t < n; t++) sums[t] = row[t].sum16;
  v128_t nibble = wasm_i32x4_const_splat(15);
  KEEP_LOOP for (uint32_t p = 0; p < 8; p++) {
    v128_t both0 = wasm_u16x8_load8x8(tile + 32 + 16 * p), both1 = wasm_u16x8_load8x8(tile + 40 + 16 * p);
    for (uint32_t h = 0; h < 2; h++) {
      Sum sum[MAX_N][2];
      for (uint32_t t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum_start(0);
      dots_of_16(sum, tile + 160 + UNIT_Q2_K * (2 * p + h), TYPE_Q2_K, row, 256 * b + 32 * p + 16 * h, n);
      add_scaled(part, sum, wasm_v128_and(wasm_u32x4_shr(both0, 16 * h), nibble),
                 wasm_v128_and(wasm_u32x4_shr(both1, 16 * h), nibble), n);
    }
    add_minima(minimum, wasm_u16x8_shr(both0, 4), wasm_u16x8_shr(both1, 4), sums, 16 * b + 2 * p, n);
  }
}

INLINE void block_q3_k(const uint8_t *tile, uint32_t b, const Row *row, uint32_t n, v128_t part[][2]) {
  KEEP_LOOP for (uint32_t j = 0; j < 16; j++) {
    Sum sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum_start(-4 * row[t].sum16[16 * b + j]);
    dots_of_16(sum, tile + 144 + UNIT_Q3_K * j, TYPE_Q3_K, row, 256 * b + 16 * j, n);
    v128_t scales = wasm_i16x8_load8x8(tile + 16 + 8 * j);
    add_scaled(part, sum, wasm_i32x4_extend_low_i16x8(scales), wasm_i32x4_extend_high_i16x8(scales), n);
  }
}

INLINE void block_q5_k(const uint8_t *tile, uint32_t b, const Row *row, uint32_t n, v128_t part[][2],
                       v128_t minimum[][2]) {
  const int16_t *sums[MAX_N];
  for (uint32_t t = 0; t < n; t++) sums[t] = row[t].sum32;
  KEEP_LOOP for (uint32_t j = 0; j < 8; j++) {
    Sum sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum_start(0);
    KEEP_LOOP for (uint32_t h = 0; h < 2; h++)
      dots_of_16(sum, tile + 160 + UNIT_Q5_K * (2 * j + h), TYPE_Q5_K, row, 256 * b + 32 * j + 16 * h, n);
    v128_t scales = wasm_u16x8_load8x8(tile + 32 + 8 * j);
    add_scaled(part, sum, wasm_u32x4_extend_low_u16x8(scales), wasm_u32x4_extend_high_u16x8(scales), n);
  }
  for (uint32_t p = 0; p < 4; p++)
    add_minima(minimum, wasm_u16x8_load8x8(tile + 96 + 16 * p), wasm_u16x8_load8x8(tile + 104 + 16 * p),
               sums, 8 * b + 2 * p, n);
}

INLINE void super_blocks(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                         uint32_t n, uint32_t type, uint32_t bytes, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  for (uint32_t b = 0; b < blocks; b++, tile += bytes) {
    v128_t part[MAX_N][2], minimum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++)
      part[t][0] = part[t][1] = minimum[t][0] = minimum[t][1] = wasm_i32x4_const_splat(0);
    if (type == TYPE_Q2_K)
      block_q2_k(tile, b, row, n, part, minimum);
    else if (type == TYPE_Q3_K)
      block_q3_k(tile, b, row, n, part);
    else
      block_q5_k(tile, b, row, n, part, minimum);
    const uint16_t *d16 = (const uint16_t *)tile;
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      for (uint32_t h = 0; h < 2; h++) {
        v128_t sum = scaled(part[t][h], wasm_f32x4_mul(load_f16x4(d16 + 4 * h), d));
        if (type != TYPE_Q3_K)
          sum = wasm_f32x4_sub(
              sum, scaled(minimum[t][h], wasm_f32x4_mul(load_f16x4(d16 + 8 + 4 * h), d)));
        out[t][h] = wasm_f32x4_add(out[t][h], sum);
      }
    }
  }
}

INLINE void times(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token, uint32_t n,
                  v128_t out[][2]) {
  const Quantized *x = &a->block256;
  uint32_t blocks = w->cols / 256;
  switch (w->type) {
    case TYPE_Q2_K: super_blocks(tile, blocks, x, token, n, TYPE_Q2_K, 160 + 16 * UNIT_Q2_K, out); break;
    case TYPE_Q3_K: super_blocks(tile, blocks, x, token, n, TYPE_Q3_K, 144 + 16 * UNIT_Q3_K, out); break;
    default: super_blocks(tile, blocks, x, token, n, TYPE_Q5_K, 160 + 16 * UNIT_Q5_K, out); break;
  }
}

UNROLLED_TIMES(tile_k)
