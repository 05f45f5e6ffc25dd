/* From a tile's blocks to a panel; the layouts are described in repack.c. */
#include "panel.h"

#include "tables.h"

INLINE void put_group(Panel *p, uint32_t i, uint32_t group, v128_t w0, v128_t w1) {
  wasm_v128_store(p->w[group][i], w0);
  wasm_v128_store(p->w[group][i] + 16, w1);
}
INLINE void put_floats(float (*to)[ROWS], uint32_t i, v128_t first, v128_t last) {
  wasm_v128_store(*to + TILE * i, first);
  wasm_v128_store(*to + TILE * i + 4, last);
}
INLINE void put_halves(float (*to)[ROWS], uint32_t i, const uint8_t *f16) {
  put_floats(to, i, load_f16x4((const uint16_t *)f16), load_f16x4((const uint16_t *)f16 + 4));
}
INLINE void put_integers(int32_t (*to)[ROWS], uint32_t i, v128_t first, v128_t last) {
  wasm_v128_store(*to + TILE * i, first);
  wasm_v128_store(*to + TILE * i + 4, last);
}

/* `n` groups from `group` on. */
INLINE void put_nibble_groups(Panel *p, uint32_t i, uint32_t group, const uint8_t *groups, uint32_t n) {
  for (uint32_t g = 0; g < n; g++) {
    v128_t raw = wasm_v128_load(groups + 16 * g);
    put_group(p, i, group + g, low_nibbles(raw), high_nibbles(raw));
  }
}
INLINE void put_units(Panel *p, uint32_t i, uint32_t group, const uint8_t *units, uint32_t bytes,
                      uint32_t n) {
  for (uint32_t u = 0; u < n; u++, units += bytes) {
    v128_t w[8];
    if (bytes == UNIT_2) unpack_2(units, w);
    if (bytes == UNIT_3) unpack_3(units, w);
    if (bytes == UNIT_5) unpack_5(units, w);
    if (bytes == UNIT_6) unpack_6(units, w);
    for (uint32_t g = 0; g < 4; g++) put_group(p, i, group + 4 * u + g, w[2 * g], w[2 * g + 1]);
  }
}
/* `n` blocks of 32 columns of places in a table; the first is block `b` of 32 of the panel. */
INLINE void put_places(Panel *p, uint32_t i, uint32_t b, const uint8_t *groups, bool iq4, uint32_t n) {
  v128_t table[PLANES];
  const uint32_t planes = iq4 ? PLANES : 1;
  load_tables(iq4, table);
  for (uint32_t g = 0; g < 8 * n; g++) {
    v128_t raw = wasm_v128_load(groups + 16 * g);
    for (uint32_t plane = 0; plane < planes; plane++)
      put_group(p, i, 8 * (planes * (b + g / 8) + plane) + g % 8, SWIZZLE(table[plane], low_nibbles(raw)),
                SWIZZLE(table[plane], high_nibbles(raw)));
  }
}

APART void unpack_mxfp4(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  v128_t exponents = wasm_u16x8_load8x8(block);
  put_floats(&p->d[b], i, mxfp4_scales(wasm_u32x4_extend_low_u16x8(exponents)),
             mxfp4_scales(wasm_u32x4_extend_high_u16x8(exponents)));
  put_places(p, i, b, block + 8, false, 1);
}

/* The scales and minima of Q4_K and Q5_K, of 32 columns; for Q5_K's narrow sums each scale twice. */
INLINE void put_scales_and_minima(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, uint32_t times) {
  put_halves(&p->d[b], i, block);
  put_halves(&p->dmin[b], i, block + 16);
  for (uint32_t j = 0; j < 8; j++) {
    v128_t scales[2];
    load_scales(block + 32 + 8 * j, false, scales);
    for (uint32_t k = 0; k < times; k++)
      put_integers(&p->scale[times * (8 * b + j) + k], i, scales[0], scales[1]);
  }
  for (uint32_t j = 0; j < 4; j++)
    put_integers(&p->minimum[4 * b + j], i, wasm_u16x8_load8x8(block + 96 + 16 * j),
                 wasm_u16x8_load8x8(block + 104 + 16 * j));
}

APART void unpack_q2_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  v128_t nibble = wasm_i16x8_const_splat(15);
  put_halves(&p->d[b], i, block);
  put_halves(&p->dmin[b], i, block + 16);
  for (uint32_t j = 0; j < 8; j++) { /* two sub-blocks */
    v128_t both0 = wasm_u16x8_load8x8(block + 32 + 16 * j), both1 = wasm_u16x8_load8x8(block + 40 + 16 * j);
    v128_t scale0 = wasm_v128_and(both0, nibble), scale1 = wasm_v128_and(both1, nibble);
    put_integers(&p->scale[16 * b + 2 * j], i, every_second(scale0, 0), every_second(scale1, 0));
    put_integers(&p->scale[16 * b + 2 * j + 1], i, every_second(scale0, 1), every_second(scale1, 1));
    put_integers(&p->minimum[8 * b + j], i, wasm_u16x8_shr(both0, 4), wasm_u16x8_shr(both1, 4));
  }
  put_units(p, i, 64 * b, block + 160, UNIT_2, 16);
}

/* `n` scales of 8 bits. */
INLINE void put_scales(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, uint32_t n) {
  put_halves(&p->d[b], i, block);
  for (uint32_t j = 0; j < n; j++) {
    v128_t scales[2];
    load_scales(block + 16 + 8 * j, true, scales);
    put_integers(&p->scale[n * b + j], i, scales[0], scales[1]);
  }
}

/* A scale for each plane: that of the high nibbles is 16 times the other. */
APART void unpack_iq4_xs(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  for (uint32_t j = 0; j < 8; j++) {
    v128_t scales = wasm_i16x8_load8x8(block + 16 + 8 * j);
    uint32_t at = PLANES * (8 * b + j);
    put_integers(&p->scale[at + PLANES - 1], i, first_scales(scales), last_scales(scales));
    scales = wasm_i16x8_shl(scales, 4);
    if (PLANES == 2) put_integers(&p->scale[at], i, first_scales(scales), last_scales(scales));
  }
  put_places(p, i, 8 * b, block + 80, true, 8);
}

APART void unpack_ternary(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  v128_t one = wasm_i16x8_const_splat(1);
  put_halves(&p->d[b], i, block);
  for (uint32_t j = 0; j < 8; j++)
    put_integers(&p->scale[8 * b + j], i, first_scales(one), last_scales(one));
  put_units(p, i, 64 * b, block + 16, UNIT_2, 16);
}

APART void unpack_q4_0(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  put_nibble_groups(p, i, 8 * b, block + 16, 8);
}
APART void unpack_q4_1(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  put_halves(&p->dmin[b], i, block + 16);
  put_nibble_groups(p, i, 8 * b, block + 32, 8);
}
APART void unpack_q5_0(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  put_units(p, i, 8 * b, block + 16, UNIT_5, 2);
}
APART void unpack_q5_1(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  put_halves(&p->dmin[b], i, block + 16);
  put_units(p, i, 8 * b, block + 32, UNIT_5, 2);
}
APART void unpack_iq4_nl(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_halves(&p->d[b], i, block);
  put_places(p, i, b, block + 16, true, 1);
}
APART void unpack_q3_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales(p, i, b, block, 16);
  put_units(p, i, 64 * b, block + 144, UNIT_3, 16);
}
APART void unpack_q4_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales_and_minima(p, i, b, block, 1);
  put_nibble_groups(p, i, 64 * b, block + 160, 64);
}
APART void unpack_q5_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales_and_minima(p, i, b, block, NARROW ? 2 : 1);
  put_units(p, i, 64 * b, block + 160, UNIT_5, 16);
}
APART void unpack_q6_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales(p, i, b, block, 16);
  put_units(p, i, 64 * b, block + 144, UNIT_6, 16);
}

void unpack_block(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, uint32_t type) {
  switch (type) {
    case TYPE_Q4_0: unpack_q4_0(p, i, b, block); break;
    case TYPE_Q4_1: unpack_q4_1(p, i, b, block); break;
    case TYPE_Q5_0: unpack_q5_0(p, i, b, block); break;
    case TYPE_Q5_1: unpack_q5_1(p, i, b, block); break;
    case TYPE_IQ4_NL: unpack_iq4_nl(p, i, b, block); break;
    case TYPE_MXFP4: unpack_mxfp4(p, i, b, block); break;
    case TYPE_Q2_K: unpack_q2_k(p, i, b, block); break;
    case TYPE_Q3_K: unpack_q3_k(p, i, b, block); break;
    case TYPE_Q4_K: unpack_q4_k(p, i, b, block); break;
    case TYPE_Q5_K: unpack_q5_k(p, i, b, block); break;
    case TYPE_Q6_K: unpack_q6_k(p, i, b, block); break;
    case TYPE_IQ4_XS: unpack_iq4_xs(p, i, b, block); break;
    default: unpack_ternary(p, i, b, block); break; /* TYPE_TQ1_0, TYPE_TQ2_0 */
  }
}
