/* From rows as a GGUF file has them to tiles of TILE = 8 interleaved rows, and back for one row.
 *
 * Quantized weights lie in groups of four columns. A group holds, for rows 0-3 and then 4-7, the
 * four weights of each row, so that one 32-bit activation group, splat over a vector, meets four
 * rows at once and no horizontal sum is ever needed:
 *
 *   eight bits  32 bytes a group: byte 4 r + k is row r, column k
 *   four bits   16 bytes a group: low nibble of byte 4 r + k is row r, high nibble row r + 4
 *
 * A block of columns starts with its scales, in row order:
 *
 *   Q8_0  32 columns:  f16 scale[8], 8 eight-bit groups
 *   Q4_0  32 columns:  f16 scale[8], 8 four-bit groups (weights + 8)
 *   Q5_0  32 columns:  f16 scale[8], 8 four-bit groups, high[2][16]: bit 7 - g of high[r / 4]
 *                      [4 (r % 4) + k] is the fifth bit of group g, row r, column k (weights + 16)
 *   Q4_K  256 columns: f16 d[8], f16 dmin[8], u8 scale[8 sub-blocks][8], u8 min[4][8 rows][2]
 *                      (sub-blocks 2 p and 2 p + 1 side by side), 64 four-bit groups
 *   Q6_K  256 columns: f16 d[8], i8 scale[16 sub-blocks][8], 64 four-bit groups, high[32][16]:
 *                      byte i of high[p] has the two high bits of byte i of group 2 p rows 0-3,
 *                      rows 4-7, group 2 p + 1 rows 0-3, rows 4-7, from the lowest bits up
 *   F32, F16, BF16: value[8 rows] for each column
 *
 * Raw blocks are as in ggml's quants (block_q4_0, block_q4_K, …).
 */
#include "numeric.h"

INLINE uint32_t load_u32(const uint8_t *p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}
INLINE void store_u32(uint8_t *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
INLINE uint16_t load_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
INLINE void copy_u16(uint8_t *to, const uint8_t *from) {
  to[0] = from[0];
  to[1] = from[1];
}

/* 32 values of at most 4 bits of one row into the 8 groups of a four-bit block. `row` >= 4 goes
 * into the high nibbles and must come after row - 4. */
INLINE void put_nibbles(const uint8_t values[32], uint32_t row, uint8_t *groups) {
  for (uint32_t g = 0; g < 8; g++) {
    uint8_t *to = groups + 16 * g + 4 * (row & 3);
    uint32_t word = load_u32(values + 4 * g);
    store_u32(to, row < 4 ? word : load_u32(to) | word << 4);
  }
}

INLINE void nibbles_of_32(const uint8_t packed[16], uint8_t values[32]) {
  v128_t raw = wasm_v128_load(packed), mask = wasm_i8x16_const_splat(0x0f);
  wasm_v128_store(values, wasm_v128_and(raw, mask));
  wasm_v128_store(values + 16, wasm_v128_and(wasm_u16x8_shr(raw, 4), mask));
}

INLINE void repack_q4_0(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[32];
  copy_u16(tile + 2 * row, block);
  nibbles_of_32(block + 2, values);
  put_nibbles(values, row, tile + 16);
}

INLINE void repack_q5_0(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[32];
  copy_u16(tile + 2 * row, block);
  nibbles_of_32(block + 6, values);
  put_nibbles(values, row, tile + 16);
  uint32_t high = load_u32(block + 2); /* bit 4 g + k */
  uint8_t *planes = tile + 144 + 16 * (row / 4) + 4 * (row & 3);
  for (uint32_t k = 0; k < 4; k++) {
    uint32_t bits = (high >> k) & 0x11111111u; /* every fourth bit, gathered by folding */
    bits = (bits | bits >> 3) & 0x03030303u;
    bits = (bits | bits >> 6) & 0x000f000fu;
    planes[k] = __builtin_bitreverse8((uint8_t)(bits | bits >> 12));
  }
}

INLINE void repack_q8_0(const uint8_t *block, uint32_t row, uint8_t *tile) {
  copy_u16(tile + 2 * row, block);
  for (uint32_t g = 0; g < 8; g++) store_u32(tile + 16 + 32 * g + 4 * row, load_u32(block + 2 + 4 * g));
}

INLINE void repack_q4_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  copy_u16(tile + 2 * row, block);
  copy_u16(tile + 16 + 2 * row, block + 2);
  const uint8_t *packed = block + 4;
  for (uint32_t j = 0; j < 8; j++) {
    uint8_t scale, minimum;
    if (j < 4) {
      scale = packed[j] & 63;
      minimum = packed[j + 4] & 63;
    } else {
      scale = (uint8_t)((packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4);
      minimum = (uint8_t)((packed[j + 4] >> 4) | (packed[j] >> 6) << 4);
    }
    tile[32 + 8 * j + row] = scale;
    tile[96 + 16 * (j / 2) + 2 * row + (j & 1)] = minimum;
  }
  for (uint32_t c = 0; c < 4; c++) { /* 32 bytes: low nibbles sub-block 2 c, high nibbles 2 c + 1 */
    uint8_t low[32], high[32];
    v128_t mask = wasm_i8x16_const_splat(0x0f);
    for (uint32_t i = 0; i < 32; i += 16) {
      v128_t raw = wasm_v128_load(block + 16 + 32 * c + i);
      wasm_v128_store(low + i, wasm_v128_and(raw, mask));
      wasm_v128_store(high + i, wasm_v128_and(wasm_u16x8_shr(raw, 4), mask));
    }
    put_nibbles(low, row, tile + 160 + 256 * c);
    put_nibbles(high, row, tile + 160 + 256 * c + 128);
  }
}

/* The 6-bit values of a Q6_K block in column order. */
INLINE void values_of_q6_k(const uint8_t *block, uint8_t values[256]) {
  v128_t low4 = wasm_i8x16_const_splat(0x0f), two = wasm_i8x16_const_splat(0x30);
  for (uint32_t half = 0; half < 2; half++) {
    const uint8_t *ql = block + 64 * half, *qh = block + 128 + 32 * half;
    uint8_t *out = values + 128 * half;
    for (uint32_t i = 0; i < 32; i += 16) {
      v128_t a = wasm_v128_load(ql + i), b = wasm_v128_load(ql + 32 + i), h = wasm_v128_load(qh + i);
      wasm_v128_store(out + i, wasm_v128_or(wasm_v128_and(a, low4),
                                            wasm_v128_and(wasm_i16x8_shl(h, 4), two)));
      wasm_v128_store(out + 32 + i, wasm_v128_or(wasm_v128_and(b, low4),
                                                 wasm_v128_and(wasm_i16x8_shl(h, 2), two)));
      wasm_v128_store(out + 64 + i, wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(a, 4), low4),
                                                 wasm_v128_and(h, two)));
      wasm_v128_store(out + 96 + i, wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(b, 4), low4),
                                                 wasm_v128_and(wasm_u16x8_shr(h, 2), two)));
    }
  }
}

INLINE void repack_q6_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256], part[32];
  values_of_q6_k(block, values);
  copy_u16(tile + 2 * row, block + 208);
  for (uint32_t j = 0; j < 16; j++) tile[16 + 8 * j + row] = block[192 + j];
  for (uint32_t c = 0; c < 8; c++) {
    for (uint32_t i = 0; i < 32; i++) part[i] = values[32 * c + i] & 15;
    put_nibbles(part, row, tile + 144 + 128 * c);
  }
  uint8_t *planes = tile + 144 + 1024 + 4 * (row & 3);
  for (uint32_t p = 0; p < 32; p++) { /* the plane of groups 2 p and 2 p + 1 */
    uint32_t even = (load_u32(values + 8 * p) >> 4) & 0x03030303u;
    uint32_t odd = (load_u32(values + 8 * p + 4) >> 4) & 0x03030303u;
    uint32_t bits = even | odd << 4;
    uint8_t *to = planes + 16 * p;
    store_u32(to, row < 4 ? bits : load_u32(to) | bits << 2);
  }
}

/* `rows` (1 to TILE) rows of the file, one after another, into a tile. Rows beyond are zero. */
void repack_tile(uint32_t type, uint32_t cols, uint32_t rows, const uint8_t *raw, uint8_t *tile) {
  uint64_t raw_row = row_bytes(type, cols);
  uint64_t size = tile_bytes(type, cols);
  if (rows < TILE) __builtin_memset(tile, 0, size);
  if (type == TYPE_F32 || type == TYPE_F16 || type == TYPE_BF16) {
    for (uint32_t r = 0; r < rows; r++) {
      const uint8_t *from = raw + r * raw_row;
      if (type == TYPE_F32)
        for (uint32_t k = 0; k < cols; k++) store_u32(tile + 4 * (TILE * k + r), load_u32(from + 4 * k));
      else
        for (uint32_t k = 0; k < cols; k++) copy_u16(tile + 2 * (TILE * k + r), from + 2 * k);
    }
    return;
  }
  uint32_t blocks = cols / type_block(type);
  uint64_t raw_block = raw_row / blocks, tile_block = size / blocks;
  for (uint32_t b = 0; b < blocks; b++) {
    uint8_t *to = tile + b * tile_block;
    for (uint32_t r = 0; r < rows; r++) {
      const uint8_t *from = raw + r * raw_row + b * raw_block;
      switch (type) {
        case TYPE_Q4_0: repack_q4_0(from, r, to); break;
        case TYPE_Q5_0: repack_q5_0(from, r, to); break;
        case TYPE_Q8_0: repack_q8_0(from, r, to); break;
        case TYPE_Q4_K: repack_q4_k(from, r, to); break;
        default: repack_q6_k(from, r, to); break;
      }
    }
  }
}

INLINE uint32_t nibble(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 4) + 4 * (row & 3) + (column & 3)];
  return row < 4 ? byte & 15 : byte >> 4;
}

/* One row of a matrix as floats: the embedding of a token. */
void dequantize_row(const Tensor *t, uint32_t row, float *out) {
  const uint8_t *tile = t->data + row / TILE * tile_bytes(t->type, t->cols);
  uint32_t r = row % TILE, block = type_block(t->type);
  uint64_t block_size = tile_bytes(t->type, t->cols) / (t->cols / block);
  for (uint32_t k = 0; k < t->cols; k++) {
    const uint8_t *b = tile + k / block * block_size;
    uint32_t c = k % block;
    float scale = f16_to_f32(load_u16(b + 2 * r));
    switch (t->type) {
      case TYPE_F32: out[k] = float_of(load_u32(b + 4 * r)); break;
      case TYPE_F16: out[k] = scale; break;
      case TYPE_BF16: out[k] = float_of((uint32_t)load_u16(b + 2 * r) << 16); break;
      case TYPE_Q8_0: out[k] = scale * (float)(int8_t)b[16 + 32 * (c / 4) + 4 * r + (c & 3)]; break;
      case TYPE_Q4_0: out[k] = scale * (float)((int)nibble(b + 16, r, c) - 8); break;
      case TYPE_Q5_0: {
        uint32_t high = b[144 + 16 * (r / 4) + 4 * (r & 3) + (c & 3)] >> (7 - c / 4) & 1;
        out[k] = scale * (float)((int)(nibble(b + 16, r, c) | high << 4) - 16);
        break;
      }
      case TYPE_Q4_K: {
        float minimum = f16_to_f32(load_u16(b + 16 + 2 * r));
        uint32_t j = c / 32;
        out[k] = scale * (float)b[32 + 8 * j + r] * (float)nibble(b + 160, r, c) -
                 minimum * (float)b[96 + 16 * (j / 2) + 2 * r + (j & 1)];
        break;
      }
      default: { /* TYPE_Q6_K */
        uint32_t plane = b[144 + 1024 + 16 * (c / 8) + 4 * (r & 3) + (c & 3)];
        uint32_t high = plane >> (4 * (c / 4 & 1) + 2 * (r / 4)) & 3;
        out[k] = scale * (float)(int8_t)b[16 + 8 * (c / 16) + r] *
                 (float)((int)(nibble(b + 144, r, c) | high << 4) - 32);
      }
    }
  }
}
