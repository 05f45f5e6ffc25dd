/* The values that the types with a table choose from. */
#ifndef MLR_TABLES_H
#define MLR_TABLES_H

#include "numeric.h"

/* IQ4_NL and IQ4_XS */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
/* MXFP4: twice a 4-bit float's values, so the scale is half of what its exponent says. */
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(exponent - 128) of 4 rows; the two lowest are subnormal. */
INLINE v128_t mxfp4_scales(v128_t exponent) {
  v128_t normal = wasm_i32x4_shl(wasm_i32x4_sub(exponent, wasm_i32x4_const_splat(1)), 23);
  v128_t zero = wasm_i32x4_eq(exponent, wasm_i32x4_const_splat(0));
  v128_t one = wasm_i32x4_eq(exponent, wasm_i32x4_const_splat(1));
  normal = wasm_v128_bitselect(wasm_i32x4_const_splat(0x00200000), normal, zero);
  return wasm_v128_bitselect(wasm_i32x4_const_splat(0x00400000), normal, one);
}
INLINE float mxfp4_scale(uint8_t exponent) {
  return wasm_f32x4_extract_lane(mxfp4_scales(wasm_i32x4_splat(exponent)), 0);
}

#endif
