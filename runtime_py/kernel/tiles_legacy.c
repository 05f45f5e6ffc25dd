/* Q4_1 and Q5_1: unsigned weights with a scale and a minimum for each 32 columns. The minima multiply
 * the sums of the activations. */
#include "tile.h"

INLINE void with_minimum(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                         uint32_t n, bool fifth, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  /* 5 bits times 32 are too much for narrow sums: with an offset, which is taken out again */
  const int32_t offset = fifth && NARROW ? -16 : 0;
  for (uint32_t b = 0; b < blocks; b++, tile += fifth ? 192 : 160) {
    Sum sum[MAX_N][2];
    begin_sums(sum, row, 32 * b, 32, offset, n);
    dots_of_32(sum, tile + 32, fifth, row, 32 * b, n);
    const uint16_t *d16 = (const uint16_t *)tile;
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + b);
      v128_t all = wasm_f32x4_splat((float)row[t].sum32[b]);
      v128_t extra = wasm_i32x4_splat(offset * row[t].sum32[b]);
      for (uint32_t h = 0; h < 2; h++) {
        v128_t scale = wasm_f32x4_mul(load_f16x4(d16 + 4 * h), d);
        v128_t minimum = wasm_f32x4_mul(load_f16x4(d16 + 8 + 4 * h), d);
        v128_t total = sum_total(sum[t][h]);
        if (offset) total = wasm_i32x4_sub(total, extra);
        out[t][h] = wasm_f32x4_add(
            out[t][h], wasm_f32x4_add(scaled(total, scale), wasm_f32x4_mul(all, minimum)));
      }
    }
  }
}

UNROLLED(tile_q4_1, with_minimum(tile, w->cols / 32, &a->block32, token, n, false, out))
UNROLLED(tile_q5_1, with_minimum(tile, w->cols / 32, &a->block32, token, n, true, out))
