/* Sizes of the weight types, in the file and as tiles. */
#include "kernel.h"

bool type_is_known(uint32_t type) { return type_block(type) != 0; }

uint32_t type_block(uint32_t type) {
  switch (type) {
    case TYPE_F32:
    case TYPE_F16:
    case TYPE_BF16: return 1;
    case TYPE_Q4_0:
    case TYPE_Q5_0:
    case TYPE_Q8_0: return 32;
    case TYPE_Q4_K:
    case TYPE_Q6_K: return 256;
    default: return 0;
  }
}

static uint32_t block_bytes(uint32_t type) {
  switch (type) {
    case TYPE_F32: return 4;
    case TYPE_F16:
    case TYPE_BF16: return 2;
    case TYPE_Q4_0: return 18;
    case TYPE_Q5_0: return 22;
    case TYPE_Q8_0: return 34;
    case TYPE_Q4_K: return 144;
    default: return 210; /* TYPE_Q6_K */
  }
}

uint64_t row_bytes(uint32_t type, uint32_t cols) {
  return (uint64_t)(cols / type_block(type)) * block_bytes(type);
}

/* Tiles take what the rows take in the file, but for the scales of Q4_K, which are unpacked
 * from 6 to 8 bits (+2.8 %). */
uint64_t tile_bytes(uint32_t type, uint32_t cols) {
  uint64_t block = type == TYPE_Q4_K ? 148 : block_bytes(type);
  return TILE * (cols / type_block(type)) * block;
}
