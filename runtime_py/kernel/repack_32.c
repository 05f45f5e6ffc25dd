/* Blocks of 32 weights into tiles; the layouts are described in repack.c. */
#include "repack.h"

INLINE void nibbles_of_32(const uint8_t packed[16], uint8_t values[32]) {
  v128_t raw = wasm_v128_load(packed), mask = wasm_i8x16_const_splat(0x0f);
  wasm_v128_store(values, wasm_v128_and(raw, mask));
  wasm_v128_store(values + 16, wasm_v128_and(wasm_u16x8_shr(raw, 4), mask));
}

INLINE void repack_nibbles(const uint8_t packed[16], uint32_t row, uint8_t *groups) {
  uint8_t values[32];
  nibbles_of_32(packed, values);
  put_nibbles(values, row, 8, groups);
}
/* 32 weights of 5 bits, the highest bits of all of them in `high`. */
INLINE void repack_5bit(const uint8_t packed[16], uint32_t high, uint32_t row, uint8_t *units) {
  uint8_t values[32];
  nibbles_of_32(packed, values);
  v128_t word = wasm_i32x4_splat((int32_t)high), bit = wasm_i64x2_const_splat((int64_t)0x8040201008040201);
  v128_t low = wasm_i8x16_shuffle(word, word, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  v128_t rest = wasm_i8x16_shuffle(word, word, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  for (uint32_t h = 0; h < 2; h++) {
    v128_t set = wasm_i8x16_eq(wasm_v128_and(h ? rest : low, bit), bit);
    v128_t fifth = wasm_v128_and(set, wasm_i8x16_const_splat(0x10));
    wasm_v128_store(values + 16 * h, wasm_v128_or(wasm_v128_load(values + 16 * h), fifth));
    put_5(values + 16 * h, row, units + UNIT_5 * h);
  }
}

void repack_32(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile) {
  if (type == TYPE_MXFP4) {
    tile[row] = block[0];
    repack_nibbles(block + 1, row, tile + 8);
    return;
  }
  copy_u16(tile + 2 * row, block);
  switch (type) {
    case TYPE_Q4_0:
    case TYPE_IQ4_NL: repack_nibbles(block + 2, row, tile + 16); break;
    case TYPE_Q4_1:
      copy_u16(tile + 16 + 2 * row, block + 2);
      repack_nibbles(block + 4, row, tile + 32);
      break;
    case TYPE_Q5_0:
      repack_5bit(block + 6, load_u32(block + 2), row, tile + 16);
      break;
    case TYPE_Q5_1:
      copy_u16(tile + 16 + 2 * row, block + 2);
      repack_5bit(block + 8, load_u32(block + 4), row, tile + 32);
      break;
    default: /* TYPE_Q8_0 */
      for (uint32_t g = 0; g < 8; g++)
        store_u32(tile + 16 + 32 * g + 4 * row, load_u32(block + 2 + 4 * g));
  }
}
