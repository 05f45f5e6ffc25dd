/* Blocks of 256 weights into tiles; the layouts are described in repack.c. */
#include "repack.h"

/* The scales and minima of Q4_K and Q5_K, 6 bits each in 12 bytes. */
INLINE void repack_scales_and_minima(const uint8_t packed[12], uint32_t row, uint8_t *tile) {
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
}

/* 128 bytes of nibbles: each 32 bytes hold 32 columns in their low nibbles, 32 in the high ones. */
INLINE void values_of_q4_k(const uint8_t packed[128], uint8_t values[256]) {
  for (uint32_t c = 0; c < 4; c++)
    for (uint32_t i = 0; i < 32; i++) {
      values[64 * c + i] = packed[32 * c + i] & 15;
      values[64 * c + 32 + i] = packed[32 * c + i] >> 4;
    }
}

/* 64 bytes of bit pairs: each 32 bytes hold 128 columns, 32 at each position. */
INLINE void values_of_pairs(const uint8_t packed[64], uint8_t values[256]) {
  for (uint32_t c = 0; c < 8; c++)
    for (uint32_t i = 0; i < 32; i++)
      values[32 * c + i] = packed[32 * (c / 4) + i] >> (2 * (c & 3)) & 3;
}

APART void repack_q2_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256];
  copy_u16(tile + 2 * row, block + 80);
  copy_u16(tile + 16 + 2 * row, block + 82);
  for (uint32_t j = 0; j < 16; j++) tile[32 + 16 * (j / 2) + 2 * row + (j & 1)] = block[j];
  values_of_pairs(block + 16, values);
  for (uint32_t c = 0; c < 8; c++) put_pairs(values + 32 * c, row, 8, tile + 160 + 64 * c);
}

APART void repack_q3_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256];
  const uint8_t *packed = block + 96; /* scales: 4 low bits of each, then the 2 high ones */
  copy_u16(tile + 2 * row, block + 108);
  /* In quarters: one loop of sixteen with `packed[j & 7]` is compiled wrongly for 64-bit addresses. */
  for (uint32_t q = 0; q < 4; q++)
    for (uint32_t i = 0; i < 4; i++) {
      uint32_t low = packed[4 * (q & 1) + i] >> (4 * (q / 2)) & 15, high = packed[8 + i] >> (2 * q) & 3;
      tile[16 + 8 * (4 * q + i) + row] = (uint8_t)((low | high << 4) - 32);
    }
  values_of_pairs(block + 32, values);
  for (uint32_t c = 0; c < 8; c++)
    for (uint32_t i = 0; i < 32; i++) values[32 * c + i] |= (block[i] >> c & 1) << 2;
  for (uint32_t c = 0; c < 16; c++) put_3(values + 16 * c, row, tile + 144 + UNIT_3 * c);
}

APART void repack_q4_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256];
  copy_u16(tile + 2 * row, block);
  copy_u16(tile + 16 + 2 * row, block + 2);
  repack_scales_and_minima(block + 4, row, tile);
  values_of_q4_k(block + 16, values);
  for (uint32_t c = 0; c < 8; c++) put_nibbles(values + 32 * c, row, 8, tile + 160 + 128 * c);
}

APART void repack_q5_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256];
  copy_u16(tile + 2 * row, block);
  copy_u16(tile + 16 + 2 * row, block + 2);
  repack_scales_and_minima(block + 4, row, tile);
  values_of_q4_k(block + 48, values);
  for (uint32_t c = 0; c < 8; c++)
    for (uint32_t i = 0; i < 32; i++) values[32 * c + i] |= (block[16 + i] >> c & 1) << 4;
  for (uint32_t c = 0; c < 16; c++) put_5(values + 16 * c, row, tile + 160 + UNIT_5 * c);
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

APART void repack_q6_k(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[256];
  values_of_q6_k(block, values);
  copy_u16(tile + 2 * row, block + 208);
  for (uint32_t j = 0; j < 16; j++) {
    tile[16 + 8 * j + row] = block[192 + j];
    put_6(values + 16 * j, row, tile + 144 + UNIT_6 * j);
  }
}

APART void repack_iq4_xs(const uint8_t *block, uint32_t row, uint8_t *tile) {
  uint8_t values[32];
  copy_u16(tile + 2 * row, block);
  for (uint32_t j = 0; j < 8; j++) { /* scales: 2 high bits of each in 2 bytes, then 4 low ones */
    uint32_t high = load_u16(block + 2) >> (2 * j) & 3, low = block[4 + j / 2] >> (4 * (j & 1)) & 15;
    tile[16 + 8 * j + row] = (uint8_t)((low | high << 4) - 32);
    for (uint32_t i = 0; i < 16; i++) {
      values[i] = block[8 + 16 * j + i] & 15;
      values[16 + i] = block[8 + 16 * j + i] >> 4;
    }
    put_nibbles(values, row, 8, tile + 80 + 128 * j);
  }
}

/* 48 bytes of five ternary digits, 4 bytes of four: a byte is the digits as a fraction of 256, so
 * that each times 3 carries the next one out. 32 bytes hold columns 0-159, digit by digit, 16 bytes
 * columns 160-239, 4 bytes the rest. */
INLINE void values_of_tq1_0(const uint8_t *block, uint8_t values[256]) {
  for (uint32_t i = 0; i < 52; i++) {
    uint32_t width = i < 32 ? 32 : i < 48 ? 16 : 4, digits = i < 48 ? 5 : 4;
    uint8_t *to = values + (i < 32 ? i : i < 48 ? 160 + i - 32 : 240 + i - 48);
    uint32_t fraction = block[i];
    for (uint32_t k = 0; k < digits; k++) {
      to[k * width] = (uint8_t)(fraction * 3 >> 8);
      fraction = fraction * 3 & 255;
    }
  }
}

APART void repack_ternary(const uint8_t *block, const uint8_t *scale, bool base3, uint32_t row,
                          uint8_t *tile) {
  uint8_t values[256];
  if (base3)
    values_of_tq1_0(block, values);
  else
    values_of_pairs(block, values);
  copy_u16(tile + 2 * row, scale);
  for (uint32_t c = 0; c < 8; c++) put_pairs(values + 32 * c, row, 8, tile + 16 + 64 * c);
}

void repack_256(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile) {
  switch (type) {
    case TYPE_Q2_K: repack_q2_k(block, row, tile); break;
    case TYPE_Q3_K: repack_q3_k(block, row, tile); break;
    case TYPE_Q4_K: repack_q4_k(block, row, tile); break;
    case TYPE_Q5_K: repack_q5_k(block, row, tile); break;
    case TYPE_Q6_K: repack_q6_k(block, row, tile); break;
    case TYPE_IQ4_XS: repack_iq4_xs(block, row, tile); break;
    case TYPE_TQ1_0: repack_ternary(block, block + 52, true, row, tile); break;
    default: repack_ternary(block, block + 64, false, row, tile); break; /* TYPE_TQ2_0 */
  }
}
