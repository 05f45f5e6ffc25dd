/* TQ1_0 and TQ2_0: weights -1, 0 and 1 with one scale for 256 columns, two bits each (weights + 1). */
#include "tile.h"

/* The sum of a block's activations. */
INLINE int32_t sum_of_256(const int16_t *sum32) {
  int32_t sum = 0;
  for (uint32_t j = 0; j < 8; j++) sum += sum32[j];
  return sum;
}

INLINE void times(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token, uint32_t n,
                  v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(&a->block256, token, n, row, out);
  v128_t mask = wasm_i8x16_const_splat(3);
  for (uint32_t b = 0; b < w->cols / 256; b++, tile += 528) {
    Sum sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++)
      sum[t][0] = sum[t][1] = sum_start(-sum_of_256(row[t].sum32 + 8 * b));
    KEEP_LOOP for (uint32_t h = 0; h < 32; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
      v128_t raw = wasm_v128_load(tile + 16 + 16 * g); /* two groups */
      v128_t w0 = wasm_v128_and(raw, mask), w1 = wasm_v128_and(wasm_u16x8_shr(raw, 2), mask);
      v128_t w2 = wasm_v128_and(wasm_u16x8_shr(raw, 4), mask);
      v128_t w3 = wasm_v128_and(wasm_u16x8_shr(raw, 6), mask);
      for (uint32_t t = 0; t < n; t++) {
        Group q = row[t].q + 256 * b + 8 * g;
        sum[t][0] = dot_unsigned(sum[t][0], w0, q);
        sum[t][1] = dot_unsigned(sum[t][1], w1, q);
        sum[t][0] = dot_unsigned(sum[t][0], w2, q + 4);
        sum[t][1] = dot_unsigned(sum[t][1], w3, q + 4);
      }
    }
    const uint16_t *d16 = (const uint16_t *)tile;
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      for (uint32_t h = 0; h < 2; h++)
        out[t][h] = wasm_f32x4_add(
            out[t][h], scaled(sum_total(sum[t][h]), wasm_f32x4_mul(load_f16x4(d16 + 4 * h), d)));
    }
  }
}

UNROLLED_TIMES(tile_ternary)
