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
/* The fifth bits of 32 columns: column 4 g + k has the bit of that number. */
INLINE void repack_fifth(uint32_t high, uint32_t row, uint8_t *planes) {
  planes += 16 * (row / 4) + 4 * (row & 3);
  for (uint32_t k = 0; k < 4; k++) {
    uint32_t bits = (high >> k) & 0x11111111u; /* every fourth bit, gathered by folding */
    bits = (bits | bits >> 3) & 0x03030303u;
    bits = (bits | bits >> 6) & 0x000f000fu;
    planes[k] = __builtin_bitreverse8((uint8_t)(bits | bits >> 12));
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
      repack_nibbles(block + 6, row, tile + 16);
      repack_fifth(load_u32(block + 2), row, tile + 144);
      break;
    case TYPE_Q5_1:
      copy_u16(tile + 16 + 2 * row, block + 2);
      repack_nibbles(block + 8, row, tile + 32);
      repack_fifth(load_u32(block + 4), row, tile + 160);
      break;
    default: /* TYPE_Q8_0 */
      for (uint32_t g = 0; g < 8; g++)
        store_u32(tile + 16 + 32 * g + 4 * row, load_u32(block + 2 + 4 * g));
  }
}
