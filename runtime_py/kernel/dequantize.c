/* One row of a matrix as floats, out of its tile: the embedding of a token. The rounding is ggml's. */
#include "planes.h"
#include "repack.h"
#include "tables.h"

INLINE float half(const uint8_t *f16, uint32_t i) { return f16_to_f32(load_u16(f16 + 2 * i)); }

/* A value of one row and column of a block's groups; see repack.c. */
INLINE uint32_t pair(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 8) + 4 * (row & 3) + (column & 3)];
  return byte >> (4 * (column / 4 & 1) + 2 * (row / 4)) & 3;
}
/* The same of a unit's columns; see units.h for what the vectors hold. */
INLINE uint32_t value_3(const uint8_t *unit, uint32_t row, uint32_t column) {
  const uint8_t *at = unit + 4 * (row & 3) + (column & 3);
  uint32_t group = column / 4, half = row / 4;
  if (group < 3) return at[16 * group] >> (3 * half) & 7;
  return at[16 * half] >> 6 | (at[32] >> (6 + half) & 1) << 2;
}
INLINE uint32_t value_5(const uint8_t *unit, uint32_t row, uint32_t column) {
  const uint8_t *at = unit + 4 * (row & 3) + (column & 3);
  uint32_t vector = 2 * (column / 4) + row / 4;
  if (vector < 5) return at[16 * vector] & 31;
  if (vector < 7) return at[16 * (vector - 5)] >> 5 | (at[16 * (vector - 2)] >> 6) << 3;
  return at[32] >> 5 | (at[48] >> 5 & 1) << 3 | (at[64] >> 5 & 1) << 4;
}
INLINE uint32_t value_6(const uint8_t *unit, uint32_t row, uint32_t column) {
  const uint8_t *at = unit + 48 * (column / 8) + 4 * (row & 3) + (column & 3);
  uint32_t vector = 2 * (column / 4 & 1) + row / 4;
  if (vector < 3) return at[16 * vector] & 63;
  return at[0] >> 6 | (at[16] >> 6) << 2 | (at[32] >> 6) << 4;
}

/* Row `r`, column `c` of the block `b` of a tile. */
INLINE float weight(uint32_t type, const uint8_t *b, uint32_t r, uint32_t c) {
  float d = half(b, r);
  switch (type) {
    case TYPE_F32: return float_of(load_u32(b + 4 * r));
    case TYPE_F16: return d;
    case TYPE_BF16: return float_of((uint32_t)load_u16(b + 2 * r) << 16);
    case TYPE_Q8_0: return d * (float)(int8_t)b[16 + 32 * (c / 4) + 4 * r + (c & 3)];
    case TYPE_Q4_0: return d * (float)((int)nibble(b + 16, r, c) - 8);
    case TYPE_Q4_1: return d * (float)nibble(b + 32, r, c) + half(b + 16, r);
    case TYPE_Q5_0: return d * (float)((int)value_5(b + 16 + UNIT_5 * (c / 16), r, c & 15) - 16);
    case TYPE_Q5_1:
      return d * (float)value_5(b + 32 + UNIT_5 * (c / 16), r, c & 15) + half(b + 16, r);
    case TYPE_IQ4_NL: return d * (float)iq4_values[nibble(b + 16, r, c)];
    case TYPE_MXFP4: return mxfp4_scale(b[r]) * (float)mxfp4_values[nibble(b + 8, r, c)];
    case TYPE_Q2_K: {
      uint32_t both = b[32 + 16 * (c / 32) + 2 * r + (c / 16 & 1)];
      return d * (float)(both & 15) * (float)pair(b + 160, r, c) - half(b + 16, r) * (float)(both >> 4);
    }
    case TYPE_Q3_K: {
      uint32_t value = value_3(b + 144 + UNIT_3 * (c / 16), r, c & 15);
      return d * (float)(int8_t)b[16 + 8 * (c / 16) + r] * (float)((int)value - 4);
    }
    case TYPE_Q4_K:
    case TYPE_Q5_K: {
      const uint8_t *weights = b + 160;
      uint32_t j = c / 32, value = type == TYPE_Q4_K ? nibble(weights, r, c)
                                                     : value_5(weights + UNIT_5 * (c / 16), r, c & 15);
      return d * (float)b[32 + 8 * j + r] * (float)value -
             half(b + 16, r) * (float)b[96 + 16 * (j / 2) + 2 * r + (j & 1)];
    }
    case TYPE_Q6_K: {
      uint32_t value = value_6(b + 144 + UNIT_6 * (c / 16), r, c & 15);
      return d * (float)(int8_t)b[16 + 8 * (c / 16) + r] * (float)((int)value - 32);
    }
    case TYPE_IQ4_XS:
      return d * (float)(int8_t)b[16 + 8 * (c / 32) + r] * (float)iq4_values[nibble(b + 80, r, c)];
    default: return d * (float)((int)pair(b + 16, r, c) - 1); /* TYPE_TQ1_0, TYPE_TQ2_0 */
  }
}

void dequantize_row(const Tensor *t, uint32_t row, float *out) {
  if (t->low) {
    planes_dequantize(t, row, out);
    return;
  }
  uint32_t block = type_block(t->type);
  uint64_t tile_size = tile_bytes(t->type, t->cols), block_size = tile_size / (t->cols / block);
  const uint8_t *tile = t->data + row / TILE * tile_size;
  for (uint32_t k = 0; k < t->cols; k++)
    out[k] = weight(t->type, tile + k / block * block_size, row % TILE, k % block);
}
