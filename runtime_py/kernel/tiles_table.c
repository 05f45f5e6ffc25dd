/* IQ4_NL, IQ4_XS and MXFP4: four bits choose a value from a table, by one byte swizzle for 16 weights.
 *
 * The tables hold unsigned numbers, the offset comes in through the sums of the activations. Those of
 * MXFP4 (values + 12) fit the 7 bits of the relaxed dot product. Those of IQ4 (values + 127, up to
 * 240) do not: there they are the sums of two tables, and each weight costs two products.
 */
#include "tables.h"
#include "tile.h"

#ifdef __wasm_relaxed_simd__
#define SWIZZLE wasm_i8x16_relaxed_swizzle /* the places are below 16, where all agree */
#else
#define SWIZZLE wasm_i8x16_swizzle
#endif

enum { IQ4_OFFSET = 127, MXFP4_OFFSET = 12, HALF = 120 };

INLINE v128_t table_plus(const int8_t values[16], int8_t offset) {
  return wasm_i8x16_add(wasm_v128_load(values), wasm_i8x16_splat(offset));
}

typedef struct {
  v128_t low;  /* all of it where the product takes 8 bits */
  v128_t rest;
} Table;

INLINE Table load_table(bool iq4) {
  if (!iq4) return (Table){table_plus(mxfp4_values, MXFP4_OFFSET), wasm_i64x2_const_splat(0)};
  v128_t all = table_plus(iq4_values, IQ4_OFFSET);
#ifdef __wasm_relaxed_simd__
  v128_t low = wasm_u8x16_min(all, wasm_i8x16_const_splat(HALF));
  return (Table){low, wasm_i8x16_sub(all, low)};
#else
  return (Table){all, wasm_i64x2_const_splat(0)};
#endif
}

/* 32 columns from `column` on, 8 four-bit groups. */
INLINE void dots_of_places(Sum sum[][2], const uint8_t *groups, Table table, bool iq4, const Row *row,
                           uint32_t column, uint32_t n) {
  KEEP_LOOP for (uint32_t h = 0; h < 8; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
    v128_t raw = wasm_v128_load(groups + 16 * g);
    v128_t place0 = low_nibbles(raw), place1 = high_nibbles(raw);
    v128_t w0 = SWIZZLE(table.low, place0), w1 = SWIZZLE(table.low, place1);
    for (uint32_t t = 0; t < n; t++) {
      Group q = row[t].q + column + 4 * g;
      sum[t][0] = dot_unsigned(sum[t][0], w0, q);
      sum[t][1] = dot_unsigned(sum[t][1], w1, q);
    }
#ifdef __wasm_relaxed_simd__
    if (iq4) {
      w0 = SWIZZLE(table.rest, place0);
      w1 = SWIZZLE(table.rest, place1);
      for (uint32_t t = 0; t < n; t++) {
        Group q = row[t].q + column + 4 * g;
        sum[t][0] = dot_unsigned(sum[t][0], w0, q);
        sum[t][1] = dot_unsigned(sum[t][1], w1, q);
      }
    }
#else
    (void)iq4;
#endif
  }
}

/* IQ4_NL and MXFP4: a scale for each 32 columns. */
INLINE void blocks_of_32(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                         uint32_t n, bool iq4, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  Table table = load_table(iq4);
  for (uint32_t b = 0; b < blocks; b++, tile += iq4 ? 144 : 136) {
    Sum sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++)
      sum[t][0] = sum[t][1] = sum_start((iq4 ? -IQ4_OFFSET : -MXFP4_OFFSET) * row[t].sum32[b]);
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
        out[t][h] = wasm_f32x4_add(out[t][h], scaled(sum_total(sum[t][h]), wasm_f32x4_mul(scale[h], d)));
    }
  }
}

/* IQ4_XS: 256 columns in sub-blocks of 32, each with an integer scale. The sums of a block stay
 * integers, at most 256 * 127 * 127 * 32 = 1.3e8. */
INLINE void blocks_of_256(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                          uint32_t n, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  Table table = load_table(true);
  for (uint32_t b = 0; b < blocks; b++, tile += 1104) {
    v128_t part[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) part[t][0] = part[t][1] = wasm_i32x4_const_splat(0);
    KEEP_LOOP for (uint32_t j = 0; j < 8; j++) {
      Sum sum[MAX_N][2];
      for (uint32_t t = 0; t < n; t++)
        sum[t][0] = sum[t][1] = sum_start(-IQ4_OFFSET * row[t].sum32[8 * b + j]);
      dots_of_places(sum, tile + 80 + 128 * j, table, true, row, 256 * b + 32 * j, n);
      v128_t scales = wasm_i16x8_load8x8(tile + 16 + 8 * j);
      v128_t s0 = wasm_i32x4_extend_low_i16x8(scales), s1 = wasm_i32x4_extend_high_i16x8(scales);
      add_sub_block(part, sum, s0, s1, n);
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

INLINE void times(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token, uint32_t n,
                  v128_t out[][2]) {
  switch (w->type) {
    case TYPE_IQ4_NL: blocks_of_32(tile, w->cols / 32, &a->block32, token, n, true, out); break;
    case TYPE_MXFP4: blocks_of_32(tile, w->cols / 32, &a->block32, token, n, false, out); break;
    default: blocks_of_256(tile, w->cols / 256, &a->block256, token, n, out); break; /* TYPE_IQ4_XS */
  }
}

UNROLLED_TIMES(tile_table)
