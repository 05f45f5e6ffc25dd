/* Putting the weights of one row into a tile; the layouts are described in repack.c. */
#ifndef MLR_REPACK_H
#define MLR_REPACK_H

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

/* `n` groups of values of at most 4 bits of one row. Rows 4-7 are put over rows 0-3, after them,
 * here and in what follows. */
INLINE void put_nibbles(const uint8_t *values, uint32_t row, uint32_t n, uint8_t *groups) {
  for (uint32_t g = 0; g < n; g++) {
    uint8_t *to = groups + 16 * g + 4 * (row & 3);
    uint32_t word = load_u32(values + 4 * g);
    store_u32(to, row < 4 ? word : load_u32(to) | word << 4);
  }
}

/* Two bits, from bit `from` up, of the values of `n` groups of one row: two groups in 16 bytes. */
INLINE void put_pairs(const uint8_t *values, uint32_t from, uint32_t row, uint32_t n, uint8_t *pairs) {
  for (uint32_t g = 0; g < n; g += 2) {
    uint8_t *to = pairs + 8 * g + 4 * (row & 3);
    uint32_t even = (load_u32(values + 4 * g) >> from) & 0x03030303u;
    uint32_t odd = (load_u32(values + 4 * g + 4) >> from) & 0x03030303u;
    uint32_t bits = even | odd << 4;
    store_u32(to, row < 4 ? bits : load_u32(to) | bits << 2);
  }
}

/* Bit `from` of the values of 4 groups of one row. */
INLINE void put_bits(const uint8_t values[16], uint32_t from, uint32_t row, uint8_t plane[16]) {
  uint8_t *to = plane + 4 * (row & 3);
  uint32_t bits = 0;
  for (uint32_t g = 0; g < 4; g++) bits |= ((load_u32(values + 4 * g) >> from) & 0x01010101u) << (2 * g);
  store_u32(to, row < 4 ? bits : load_u32(to) | bits << 1);
}

/* repack_32.c, repack_256.c: a block of row `row` of the file into a tile's block. */
void repack_32(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile);
void repack_256(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile);

#endif
