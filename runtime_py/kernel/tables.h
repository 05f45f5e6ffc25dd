/* The values that the types with a table choose from. */
#ifndef MLR_TABLES_H
#define MLR_TABLES_H

#include "numeric.h"
#include "units.h"

/* IQ4_NL and IQ4_XS */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
/* MXFP4: twice a 4-bit float's values, so the scale is half of what its exponent says. */
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#ifdef __wasm_relaxed_simd__
#define SWIZZLE wasm_i8x16_relaxed_swizzle /* the places are below 16, where all agree */
#else
#define SWIZZLE wasm_i8x16_swizzle
#endif

/* What a product takes: MXFP4's values + 12, of which one plane is enough; of IQ4's values + 128 the
 * high nibbles, then the low ones, where it takes 7 bits (PLANES), or all in one. */
INLINE void load_tables(bool iq4, v128_t table[PLANES]) {
  if (!iq4) {
    table[0] = wasm_i8x16_add(wasm_v128_load(mxfp4_values), wasm_i8x16_const_splat(12));
    return;
  }
  v128_t all = wasm_v128_xor(wasm_v128_load(iq4_values), wasm_i8x16_const_splat((int8_t)0x80));
#ifdef __wasm_relaxed_simd__
  table[0] = high_nibbles(all);
  table[1] = low_nibbles(all);
#else
  table[0] = all;
#endif
}
enum { MXFP4_OFFSET = -12, IQ4_OFFSET = PLANES == 2 ? -8 : -128 /* of the first plane */ };

/* 2^(exponent - 128) of 4 rows. The two lowest are subnormal, half and a quarter of the third: what is
 * right for these is less than what is right for others. */
INLINE v128_t mxfp4_scales(v128_t exponent) {
  v128_t one = wasm_i32x4_const_splat(1);
  v128_t normal = wasm_i32x4_shl(wasm_i32x4_sub(exponent, one), 23);
  return wasm_i32x4_max(normal, wasm_i32x4_shl(wasm_i32x4_add(exponent, one), 21));
}
INLINE float mxfp4_scale(uint8_t exponent) {
  return wasm_f32x4_extract_lane(mxfp4_scales(wasm_i32x4_splat(exponent)), 0);
}

#endif
