/* Sizes of the weight types, in the file and as tiles. */
#include "kernel.h"

typedef struct {
  uint16_t block; /* weights */
  uint16_t file;  /* bytes of a block in the file */
  uint16_t tile;  /* and of its share of a tile */
} Layout;

/* Tiles take what the rows take in the file where it can be: the scales of Q3_K, Q4_K, Q5_K and
 * IQ4_XS are unpacked from 6 to 8 bits, the weights of TQ1_0 from 1.6 to 2. */
static Layout layout(uint32_t type) {
  switch (type) {
    case TYPE_F32: return (Layout){1, 4, 4};
    case TYPE_F16:
    case TYPE_BF16: return (Layout){1, 2, 2};
    case TYPE_Q4_0:
    case TYPE_IQ4_NL: return (Layout){32, 18, 18};
    case TYPE_Q4_1: return (Layout){32, 20, 20};
    case TYPE_Q5_0: return (Layout){32, 22, 22};
    case TYPE_Q5_1: return (Layout){32, 24, 24};
    case TYPE_Q8_0: return (Layout){32, 34, 34};
    case TYPE_MXFP4: return (Layout){32, 17, 17};
    case TYPE_Q2_K: return (Layout){256, 84, 84};
    case TYPE_Q3_K: return (Layout){256, 110, 114};
    case TYPE_Q4_K: return (Layout){256, 144, 148};
    case TYPE_Q5_K: return (Layout){256, 176, 180};
    case TYPE_Q6_K: return (Layout){256, 210, 210};
    case TYPE_IQ4_XS: return (Layout){256, 136, 138};
    case TYPE_TQ1_0: return (Layout){256, 54, 66};
    case TYPE_TQ2_0: return (Layout){256, 66, 66};
    default: return (Layout){0, 0, 0};
  }
}

bool type_is_known(uint32_t type) { return type_block(type) != 0; }

uint32_t type_block(uint32_t type) { return layout(type).block; }

uint64_t row_bytes(uint32_t type, uint32_t cols) {
  return (uint64_t)(cols / type_block(type)) * layout(type).file;
}

uint64_t tile_bytes(uint32_t type, uint32_t cols) {
  return (uint64_t)TILE * (cols / type_block(type)) * layout(type).tile;
}
