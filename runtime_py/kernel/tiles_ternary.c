/* TQ1_0 and TQ2_0: weights -1, 0 and 1 with one scale for 256 columns, two bits each (weights + 1). */
#include "tile.h"

/* The sum of a block's activations. */
INLINE int32_t sum_of_256(const int16_t *sum32) {
  int32_t sum = 0;
  for (uint32_t j = 0; j < 8; j++) sum += sum32[j];
  return sum;
}

INLINE void times(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token, uint32_t n,
                  v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  for (uint32_t b = 0; b < blocks; b++, tile += 16 + 16 * UNIT_2) {
    v128_t total[MAX_N][2];
    for (uint32_t t = 0; t < n; t++)
      total[t][0] = total[t][1] = wasm_i32x4_splat(-sum_of_256(row[t].sum32 + 8 * b));
    KEEP_LOOP for (uint32_t h = 0; h < 2; h++) { /* of two halves, so that narrow sums hold 3 times 127 */
      Sum sum[MAX_N][2];
      begin_sums(sum, row, 0, 16, 0, n);
      KEEP_LOOP for (uint32_t u = 8 * h; u < 8 * h + 8; u++) {
        v128_t weights[8];
        unpack_2(tile + 16 + UNIT_2 * u, weights);
        add_dots(sum, weights, 4, row, 256 * b + 16 * u, n);
      }
      for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < 2; i++) total[t][i] = wasm_i32x4_add(total[t][i], sum_total(sum[t][i]));
    }
    const uint16_t *d16 = (const uint16_t *)tile;
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      for (uint32_t h = 0; h < 2; h++)
        out[t][h] = wasm_f32x4_add(out[t][h],
                                   scaled(total[t][h], wasm_f32x4_mul(load_f16x4(d16 + 4 * h), d)));
    }
  }
}

UNROLLED(tile_ternary, times(tile, w->cols / 256, &a->block256, token, n, out))
