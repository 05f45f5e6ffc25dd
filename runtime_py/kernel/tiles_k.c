/* Q2_K, Q3_K and Q5_K: 256 columns in sub-blocks, each with an integer scale. The sums of a block
 * stay integers: at most 256 * 31 * 127 * 63 = 6.4e7 for Q5_K, less for the others. */
#include "tile.h"

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
  v128_t nibble = wasm_i16x8_const_splat(15);
  KEEP_LOOP for (uint32_t p = 0; p < 8; p++) {
    v128_t both0 = wasm_u16x8_load8x8(tile + 32 + 16 * p), both1 = wasm_u16x8_load8x8(tile + 40 + 16 * p);
    v128_t scale0 = wasm_v128_and(both0, nibble), scale1 = wasm_v128_and(both1, nibble);
    for (uint32_t h = 0; h < 2; h++) {
      Sum sum[MAX_N][2];
      v128_t w[8], scales[2] = {every_second(scale0, h), every_second(scale1, h)};
      begin_sums(sum, row, 0, 16, 0, n);
      unpack_2(tile + 160 + UNIT_2 * (2 * p + h), w);
      add_dots(sum, w, 4, row, 256 * b + 32 * p + 16 * h, n);
      add_scaled(part, sum, scales, n);
    }
    add_minima(minimum, wasm_u16x8_shr(both0, 4), wasm_u16x8_shr(both1, 4), sums, 16 * b + 2 * p, n);
  }
}

INLINE void block_q3_k(const uint8_t *tile, uint32_t b, const Row *row, uint32_t n, v128_t part[][2]) {
  KEEP_LOOP for (uint32_t j = 0; j < 16; j++) {
    Sum sum[MAX_N][2];
    v128_t w[8], scales[2];
    begin_sums(sum, row, 256 * b + 16 * j, 16, -4, n);
    unpack_3(tile + 144 + UNIT_3 * j, w);
    add_dots(sum, w, 4, row, 256 * b + 16 * j, n);
    load_scales(tile + 16 + 8 * j, true, scales);
    add_scaled(part, sum, scales, n);
  }
}

INLINE void block_q5_k(const uint8_t *tile, uint32_t b, const Row *row, uint32_t n, v128_t part[][2],
                       v128_t minimum[][2]) {
  const int16_t *sums[MAX_N];
  for (uint32_t t = 0; t < n; t++) sums[t] = row[t].sum32;
  KEEP_LOOP for (uint32_t j = 0; j < 8; j++) {
    Sum sum[MAX_N][2];
    v128_t w[8], scales[2];
    load_scales(tile + 32 + 8 * j, false, scales);
    for (uint32_t h = 0; h < 2; h++) {
      if (h == 0 || NARROW) begin_sums(sum, row, 0, 16, 0, n);
      unpack_5(tile + 160 + UNIT_5 * (2 * j + h), w);
      add_dots(sum, w, 4, row, 256 * b + 32 * j + 16 * h, n);
      if (h == 1 || NARROW) add_scaled(part, sum, scales, n);
    }
  }
  for (uint32_t p = 0; p < 4; p++)
    add_minima(minimum, wasm_u16x8_load8x8(tile + 96 + 16 * p), wasm_u16x8_load8x8(tile + 104 + 16 * p),
               sums, 8 * b + 2 * p, n);
}

INLINE void super_blocks(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                         uint32_t n, uint32_t type, v128_t out[][2]) {
  const uint32_t bytes = type == TYPE_Q2_K   ? 160 + 16 * UNIT_2
                         : type == TYPE_Q3_K ? 144 + 16 * UNIT_3
                                             : 160 + 16 * UNIT_5;
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

UNROLLED(tile_q2_k, super_blocks(tile, w->cols / 256, &a->block256, token, n, TYPE_Q2_K, out))
UNROLLED(tile_q3_k, super_blocks(tile, w->cols / 256, &a->block256, token, n, TYPE_Q3_K, out))
UNROLLED(tile_q5_k, super_blocks(tile, w->cols / 256, &a->block256, token, n, TYPE_Q5_K, out))
