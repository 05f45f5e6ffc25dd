/* IQ4_NL, IQ4_XS and MXFP4: four bits choose a value from a table, by one byte swizzle for 16 weights. */
#include "tables.h"
#include "tile.h"

/* Planes that a type has, of those that there are tables for. */
#define PLANES_OF(iq4) ((iq4) ? PLANES : 1u)

/* 32 columns from `column` on, 8 four-bit groups, into the sums of each plane. */
INLINE void dots_of_places(Sum sum[PLANES][MAX_N][2], const uint8_t *groups, const v128_t table[PLANES],
                           bool iq4, const Row *row, uint32_t column, uint32_t n) {
  for (uint32_t p = 0; p < PLANES_OF(iq4); p++)
    begin_sums(sum[p], row, column, 32, p ? 0 : iq4 ? IQ4_OFFSET : MXFP4_OFFSET, n);
  KEEP_LOOP for (uint32_t h = 0; h < 8; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
    v128_t raw = wasm_v128_load(groups + 16 * g);
    for (uint32_t p = 0; p < PLANES_OF(iq4); p++) {
      v128_t w[2] = {SWIZZLE(table[p], low_nibbles(raw)), SWIZZLE(table[p], high_nibbles(raw))};
      add_dots(sum[p], w, 1, row, column + 4 * g, n);
    }
  }
}
INLINE v128_t total_of_planes(Sum sum[PLANES][MAX_N][2], bool iq4, uint32_t t, uint32_t h) {
  v128_t total = sum_total(sum[0][t][h]);
  if (PLANES_OF(iq4) == 1) return total;
  return wasm_i32x4_add(wasm_i32x4_shl(total, 4), sum_total(sum[PLANES - 1][t][h]));
}

/* IQ4_NL and MXFP4: a scale for each 32 columns. */
INLINE void blocks_of_32(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                         uint32_t n, bool iq4, v128_t out[][2]) {
  Row row[MAX_N];
  v128_t table[PLANES];
  begin_rows(x, token, n, row, out);
  load_tables(iq4, table);
  for (uint32_t b = 0; b < blocks; b++, tile += iq4 ? 144 : 136) {
    Sum sum[PLANES][MAX_N][2];
    dots_of_places(sum, tile + (iq4 ? 16 : 8), table, iq4, row, 32 * b, n);
    v128_t scale[2];
    if (iq4) {
      scale[0] = load_f16x4((const uint16_t *)tile);
      scale[1] = load_f16x4((const uint16_t *)tile + 4);
    } else {
      v128_t exponents = wasm_u16x8_load8x8(tile);
      scale[0] = mxfp4_scales(wasm_u32x4_extend_low_u16x8(exponents));
      scale[1] = mxfp4_scales(wasm_u32x4_extend_high_u16x8(exponents));
    }
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + b);
      for (uint32_t h = 0; h < 2; h++)
        out[t][h] = wasm_f32x4_add(
            out[t][h], scaled(total_of_planes(sum, iq4, t, h), wasm_f32x4_mul(scale[h], d)));
    }
  }
}

/* IQ4_XS: 256 columns in sub-blocks of 32, each with an integer scale. The sums of a block stay
 * integers, at most 256 * 127 * 127 * 32 = 1.3e8. */
INLINE void blocks_of_256(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                          uint32_t n, v128_t out[][2]) {
  Row row[MAX_N];
  v128_t table[PLANES];
  begin_rows(x, token, n, row, out);
  load_tables(true, table);
  for (uint32_t b = 0; b < blocks; b++, tile += 1104) {
    v128_t part[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) part[t][0] = part[t][1] = wasm_i32x4_const_splat(0);
    KEEP_LOOP for (uint32_t j = 0; j < 8; j++) {
      Sum sum[PLANES][MAX_N][2];
      dots_of_places(sum, tile + 80 + 128 * j, table, true, row, 256 * b + 32 * j, n);
      v128_t all = wasm_i16x8_load8x8(tile + 16 + 8 * j);
      v128_t scales[2] = {wasm_i32x4_extend_low_i16x8(all), wasm_i32x4_extend_high_i16x8(all)};
      for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < 2; h++) {
          v128_t total = wasm_i32x4_mul(total_of_planes(sum, true, t, h), scales[h]);
          part[t][h] = wasm_i32x4_add(part[t][h], total);
        }
    }
    const uint16_t *d16 = (const uint16_t *)tile;
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      for (uint32_t h = 0; h < 2; h++)
        out[t][h] = wasm_f32x4_add(out[t][h],
                                   scaled(part[t][h], wasm_f32x4_mul(load_f16x4(d16 + 4 * h), d)));
    }
  }
}

UNROLLED(tile_iq4_nl, blocks_of_32(tile, w->cols / 32, &a->block32, token, n, true, out))
UNROLLED(tile_mxfp4, blocks_of_32(tile, w->cols / 32, &a->block32, token, n, false, out))
UNROLLED(tile_iq4_xs, blocks_of_256(tile, w->cols / 256, &a->block256, token, n, out))
