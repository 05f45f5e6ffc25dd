/* Putting the weights of one row into a tile; the layouts are described in repack.c. */
#ifndef MLR_REPACK_H
#define MLR_REPACK_H

#include "units.h"

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

/* One of them, of a row and a column of the groups. */
INLINE uint32_t nibble(const uint8_t *groups, uint32_t row, uint32_t column) {
  uint32_t byte = groups[16 * (column / 4) + 4 * (row & 3) + (column & 3)];
  return row < 4 ? byte & 15 : byte >> 4;
}

/* Two bits of `n` groups of one row: two groups in 16 bytes. */
INLINE void put_pairs(const uint8_t *values, uint32_t row, uint32_t n, uint8_t *pairs) {
  for (uint32_t g = 0; g < n; g += 2) {
    uint8_t *to = pairs + 8 * g + 4 * (row & 3);
    uint32_t bits = load_u32(values + 4 * g) | load_u32(values + 4 * g + 4) << 4;
    store_u32(to, row < 4 ? bits : load_u32(to) | bits << 2);
  }
}

/* Units of 16 columns (units.h) take the weights of one row. In what follows group 0 lies, for rows
 * 0-3, in the lowest bits of vector 0, group 1 in those of the next vector that is free, and so on;
 * for rows 4-7 in the places between; `high` is what is left for the last ones. */
INLINE void put_word(uint8_t *unit, uint32_t vector, uint32_t row, uint32_t word) {
  uint8_t *to = unit + 16 * vector + 4 * (row & 3);
  store_u32(to, row < 4 ? word : load_u32(to) | word);
}
/* Bits `from` up of each byte, `mask` says how many, to bit `to` up. */
INLINE uint32_t bits_moved(uint32_t word, uint32_t from, uint32_t mask, uint32_t to) {
  return (word >> from & mask * 0x01010101u) << to;
}

/* Vector i: group i whole, rows 0-3 in bits 0-2, rows 4-7 in bits 3-5. Of group 3 bits 0-1 are in
 * bits 6-7 of vector 0 (rows 0-3) and 1 (rows 4-7), bit 2 in bit 6 or 7 of vector 2. */
INLINE void put_3(const uint8_t values[16], uint32_t row, uint8_t *unit) {
  uint32_t half = row / 4, last = load_u32(values + 12), word[3];
  for (uint32_t i = 0; i < 3; i++) word[i] = load_u32(values + 4 * i) << (3 * half);
  word[half] |= bits_moved(last, 0, 3, 6);
  word[2] |= bits_moved(last, 2, 1, 6 + half);
  for (uint32_t i = 0; i < 3; i++) put_word(unit, i, row, word[i]);
}

/* Bits 0-4 of vectors 0-4: groups 0-2 of rows 0-3, 0-1 of rows 4-7, in turns. The others lie in bits
 * 5-7: rows 4-7 of group 2 in vectors 0 (bits 0-2) and 3 (bits 3-4, at 6), rows 0-3 of group 3 in
 * vectors 1 and 4 likewise, rows 4-7 of group 3 in vectors 2 (bits 0-2), 3 (bit 3, at 5) and 4 (bit
 * 4, at 5). */
INLINE void put_5(const uint8_t values[16], uint32_t row, uint8_t *unit) {
  uint32_t group[4], word[5] = {0};
  for (uint32_t g = 0; g < 4; g++) group[g] = load_u32(values + 4 * g);
  if (row < 4) {
    for (uint32_t g = 0; g < 3; g++) word[2 * g] = group[g];
    word[1] = bits_moved(group[3], 0, 7, 5);
    word[4] |= bits_moved(group[3], 3, 3, 6);
  } else {
    word[0] = bits_moved(group[2], 0, 7, 5);
    word[1] = group[0];
    word[2] = bits_moved(group[3], 0, 7, 5);
    word[3] = group[1] | bits_moved(group[2], 3, 3, 6) | bits_moved(group[3], 3, 1, 5);
    word[4] = bits_moved(group[3], 4, 1, 5);
  }
  for (uint32_t i = 0; i < 5; i++) put_word(unit, i, row, word[i]);
}

/* Each half of the unit: bits 0-5 of vectors 0-2 are its first group, rows 0-3 and 4-7, and its second,
 * rows 0-3. Rows 4-7 of the second are in bits 6-7, from the lowest bits up. */
INLINE void put_6(const uint8_t values[16], uint32_t row, uint8_t *unit) {
  for (uint32_t half = 0; half < 2; half++) {
    uint32_t first = load_u32(values + 8 * half), second = load_u32(values + 8 * half + 4), word[3];
    for (uint32_t i = 0; i < 3; i++) word[i] = row < 4 ? 0 : bits_moved(second, 2 * i, 3, 6);
    word[row / 4] |= first;
    if (row < 4) word[2] = second;
    for (uint32_t i = 0; i < 3; i++) put_word(unit + 48 * half, i, row, word[i]);
  }
}

/* repack_32.c, repack_256.c: a block of row `row` of the file into a tile's block. */
void repack_32(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile);
void repack_256(uint32_t type, const uint8_t *block, uint32_t row, uint8_t *tile);

#endif
