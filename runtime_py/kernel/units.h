/* Units of 16 columns of weights of 3, 5 and 6 bits: packed without gaps, so that a tile is read from
 * front to back, and so that little is needed to take them apart.
 *
 * Eight vectors of weights, those of group g (four columns) being 2 g (rows 0-3) and 2 g + 1 (rows
 * 4-7), lie in 3, 5 or 6 vectors. Each of these holds one or two of the eight whole; its other bits are
 * pieces of those that remain. Which bits are where is said in repack.h, where they are put.
 */
#ifndef MLR_UNITS_H
#define MLR_UNITS_H

#include "numeric.h"

enum {
  UNIT_2 = 32, /* bytes of 16 columns */
  UNIT_3 = 48,
  UNIT_5 = 80,
  UNIT_6 = 96,
};

/* Weights of 8 bits are two planes, the high nibbles before the low ones, where the dot product takes
 * 7 bits. */
#ifdef __wasm_relaxed_simd__
enum { PLANES = 2 };
#else
enum { PLANES = 1 };
#endif

/* The bits of `mask` of each byte, after shifting right by less than 8. */
INLINE v128_t bits(v128_t v, uint32_t shift, uint8_t mask) {
  return wasm_v128_and(shift ? wasm_u16x8_shr(v, shift) : v, constant(wasm_i8x16_splat((int8_t)mask)));
}

INLINE v128_t low_nibbles(v128_t raw) { return bits(raw, 0, 15); }
INLINE v128_t high_nibbles(v128_t raw) { return bits(raw, 4, 15); }

/* Two groups of two bits. */
INLINE void unpack_pairs(const uint8_t *pairs, v128_t w[4]) {
  v128_t raw = wasm_v128_load(pairs);
  w[0] = bits(raw, 0, 3);
  w[1] = bits(raw, 2, 3);
  w[2] = bits(raw, 4, 3);
  w[3] = bits(raw, 6, 3);
}

INLINE void unpack_2(const uint8_t *unit, v128_t w[8]) {
  unpack_pairs(unit, w);
  unpack_pairs(unit + 16, w + 4);
}

INLINE void unpack_3(const uint8_t *unit, v128_t w[8]) {
  v128_t raw[3];
  for (uint32_t i = 0; i < 3; i++) {
    raw[i] = wasm_v128_load(unit + 16 * i);
    w[2 * i] = bits(raw[i], 0, 7);
    w[2 * i + 1] = bits(raw[i], 3, 7);
  }
  w[6] = wasm_v128_or(bits(raw[0], 6, 3), bits(raw[2], 4, 4));
  w[7] = wasm_v128_or(bits(raw[1], 6, 3), bits(raw[2], 5, 4));
}

INLINE void unpack_5(const uint8_t *unit, v128_t w[8]) {
  v128_t raw[5];
  for (uint32_t i = 0; i < 5; i++) {
    raw[i] = wasm_v128_load(unit + 16 * i);
    w[i] = bits(raw[i], 0, 31);
  }
  w[5] = wasm_v128_or(bits(raw[0], 5, 7), bits(raw[3], 3, 0x18));
  w[6] = wasm_v128_or(bits(raw[1], 5, 7), bits(raw[4], 3, 0x18));
  w[7] = wasm_v128_or(bits(raw[2], 5, 7), wasm_v128_or(bits(raw[3], 2, 8), bits(raw[4], 1, 0x10)));
}

/* Half of a unit: two groups. */
INLINE void unpack_half_6(const uint8_t *half, v128_t w[4]) {
  v128_t raw[3];
  for (uint32_t i = 0; i < 3; i++) {
    raw[i] = wasm_v128_load(half + 16 * i);
    w[i] = bits(raw[i], 0, 63);
  }
  w[3] = wasm_v128_or(bits(raw[0], 6, 3), wasm_v128_or(bits(raw[1], 4, 0x0c), bits(raw[2], 2, 0x30)));
}

INLINE void unpack_6(const uint8_t *unit, v128_t w[8]) {
  unpack_half_6(unit, w);
  unpack_half_6(unit + UNIT_6 / 2, w + 4);
}

#endif
