/* One row of a matrix as floats, out of its tile: the embedding of a token. The rounding is ggml's. */
#include "repack.h"
#include "tables.h"

INLINE float half(const uint8_t *f16, uint32_t i) { return f16_to_f32(load_u16(f16 + 2 * i)); }

/* A value of one row and column of a block's groups; see repack.c. */
INLINE uint32_t nibble(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 4) + 4 * (row & 3) + (column & 3)];
  return row < 4 ? byte & 15 : byte >> 4;
}
INLINE uint32_t pair(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 8) + 4 * (row & 3) + (column & 3)];
  return byte >> (4 * (column / 4 & 1) + 2 * (row / 4)) & 3;
}
INLINE uint32_t bit(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 16) + 4 * (row & 3) + (column & 3)];
  return byte >> (2 * (column / 4 & 3) + row / 4) & 1;
}
/* The fifth bit of Q5_0 and Q5_1, in its place. */
INLINE uint32_t fifth(const uint8_t *planes, uint32_t row, uint32_t column) {
  uint32_t byte = planes[16 * (row / 4) + 4 * (row & 3) + (column & 3)];
  return (byte >> (7 - column / 4) & 1) << 4;
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
    case TYPE_Q5_0: return d * (float)((int)(nibble(b + 16, r, c) | fifth(b + 144, r, c)) - 16);
    case TYPE_Q5_1: return d * (float)(nibble(b + 32, r, c) | fifth(b + 160, r, c)) + half(b + 16, r);
    case TYPE_IQ4_NL: return d * (float)iq4_values[nibble(b + 16, r, c)];
    case TYPE_MXFP4: return mxfp4_scale(b[r]) * (float)mxfp4_values[nibble(b + 8, r, c)];
    case TYPE_Q2_K: {
      uint32_t both = b[32 + 16 * (c / 32) + 2 * r + (c / 16 & 1)];
      return d * (float)(both & 15) * (float)pair(b + 160, r, c) - half(b + 16, r) * (float)(both >> 4);
    }
    case TYPE_Q3_K: {
      const uint8_t *unit = b + 144 + 48 * (c / 16);
      uint32_t value = pair(unit, r, c & 15) | bit(unit + 32, r, c & 15) << 2;
      return d * (float)(int8_t)b[16 + 8 * (c / 16) + r] * (float)((int)value - 4);
    }
    case TYPE_Q4_K:
    case TYPE_Q5_K: {
      uint32_t j = c / 32, value;
      if (type == TYPE_Q4_K) {
        value = nibble(b + 160, r, c);
      } else {
        const uint8_t *unit = b + 160 + 80 * (c / 16);
        value = nibble(unit, r, c & 15) | bit(unit + 64, r, c & 15) << 4;
      }
      return d * (float)b[32 + 8 * j + r] * (float)value -
             half(b + 16, r) * (float)b[96 + 16 * (j / 2) + 2 * r + (j & 1)];
    }
    case TYPE_Q6_K: {
      uint32_t value = nibble(b + 144, r, c) | pair(b + 1168, r, c) << 4;
      return d * (float)(int8_t)b[16 + 8 * (c / 16) + r] * (float)((int)value - 32);
    }
    case TYPE_IQ4_XS:
      return d * (float)(int8_t)b[16 + 8 * (c / 32) + r] * (float)iq4_values[nibble(b + 80, r, c)];
    default: return d * (float)((int)pair(b + 16, r, c) - 1); /* TYPE_TQ1_0, TYPE_TQ2_0 */
  }
}

void dequantize_row(const Tensor *t, uint32_t row, float *out) {
  uint32_t block = type_block(t->type);
  uint64_t tile_size = tile_bytes(t->type, t->cols), block_size = tile_size / (t->cols / block);
  const uint8_t *tile = t->data + row / TILE * tile_size;
  for (uint32_t k = 0; k < t->cols; k++)
    out[k] = weight(t->type, tile + k / block * block_size, row % TILE, k % block);
}
