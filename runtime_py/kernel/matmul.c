/* The inner loops: a tile of 8 rows of weights times one or several rows of activations.
 *
 * Every function is written once, for N tokens, and unrolled for the values of N that are used.
 * For each row and token the sequence of floating-point operations is the same whatever N is, so
 * a prompt gives the same logits in one pass or token by token. tile.h has what they share.
 */
#include "planes.h"
#include "tile.h"

/* Q4_0 and Q5_0: unsigned weights, an offset folded in through the sums of the activations. */
INLINE void of_5_bits(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                      uint32_t n, bool fifth, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  const int32_t offset = fifth ? -16 : -8;
  for (uint32_t b = 0; b < blocks; b++, tile += fifth ? 176 : 144) {
    Sum sum[MAX_N][2];
    begin_sums(sum, row, 32 * b, 32, offset, n);
    dots_of_32(sum, tile + 16, fifth, row, 32 * b, n);
    v128_t d0 = load_f16x4((const uint16_t *)tile), d1 = load_f16x4((const uint16_t *)tile + 4);
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + b);
      out[t][0] = wasm_f32x4_add(out[t][0], scaled(sum_total(sum[t][0]), wasm_f32x4_mul(d0, d)));
      out[t][1] = wasm_f32x4_add(out[t][1], scaled(sum_total(sum[t][1]), wasm_f32x4_mul(d1, d)));
    }
  }
}

/* Q8_0: signed weights. */
INLINE void of_8_bits(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                      uint32_t n, v128_t out[][2]) {
  for (uint32_t t = 0; t < n; t++) out[t][0] = out[t][1] = wasm_f32x4_const_splat(0.0f);
  for (uint32_t b = 0; b < blocks; b++, tile += 272) {
    v128_t d0 = load_f16x4((const uint16_t *)tile), d1 = load_f16x4((const uint16_t *)tile + 4);
#ifdef MLR_NARROW
    v128_t sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) sum[t][0] = sum[t][1] = wasm_i32x4_const_splat(0);
    KEEP_LOOP for (uint32_t h = 0; h < 8; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
      v128_t w0 = wasm_v128_load(tile + 16 + 32 * g), w1 = wasm_v128_load(tile + 32 + 32 * g);
      for (uint32_t t = 0; t < n; t++) {
        const uint8_t *split = x->split + 2 * ((uint64_t)(token + t) * x->cols + 32 * b + 4 * g);
        v128_t both = wasm_v128_load(split); /* one load for two splats, as in splat_32 */
        __asm__("" : "+r"(both));
        v128_t p = wasm_i32x4_shuffle(both, both, 0, 0, 0, 0), m = wasm_i32x4_shuffle(both, both, 1, 1, 1, 1);
        /* of each pair of products at most both are in the one part or in the other: no overflow */
        v128_t s0 = wasm_i16x8_sub(wasm_i16x8_relaxed_dot_i8x16_i7x16(w0, p),
                                   wasm_i16x8_relaxed_dot_i8x16_i7x16(w0, m));
        v128_t s1 = wasm_i16x8_sub(wasm_i16x8_relaxed_dot_i8x16_i7x16(w1, p),
                                   wasm_i16x8_relaxed_dot_i8x16_i7x16(w1, m));
        sum[t][0] = wasm_i32x4_add(sum[t][0], wasm_i32x4_dot_i16x8(s0, wasm_i16x8_const_splat(1)));
        sum[t][1] = wasm_i32x4_add(sum[t][1], wasm_i32x4_dot_i16x8(s1, wasm_i16x8_const_splat(1)));
      }
    }
    for (uint32_t t = 0; t < n; t++) {
      v128_t sum0 = sum[t][0], sum1 = sum[t][1];
#elif defined __wasm_relaxed_simd__
    v128_t plus[MAX_N][2], minus[MAX_N][2];
    for (uint32_t t = 0; t < n; t++)
      plus[t][0] = plus[t][1] = minus[t][0] = minus[t][1] = wasm_i32x4_const_splat(0);
    KEEP_LOOP for (uint32_t h = 0; h < 8; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
      v128_t w0 = wasm_v128_load(tile + 16 + 32 * g), w1 = wasm_v128_load(tile + 32 + 32 * g);
      for (uint32_t t = 0; t < n; t++) {
        const uint8_t *split = x->split + 2 * ((uint64_t)(token + t) * x->cols + 32 * b + 4 * g);
        v128_t p = wasm_v128_load32_splat(split), m = wasm_v128_load32_splat(split + 4);
        plus[t][0] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w0, p, plus[t][0]);
        plus[t][1] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w1, p, plus[t][1]);
        minus[t][0] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w0, m, minus[t][0]);
        minus[t][1] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(w1, m, minus[t][1]);
      }
    }
    for (uint32_t t = 0; t < n; t++) {
      v128_t sum0 = wasm_i32x4_sub(plus[t][0], minus[t][0]);
      v128_t sum1 = wasm_i32x4_sub(plus[t][1], minus[t][1]);
#else
    Sum sum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) sum[t][0] = sum[t][1] = sum_zero();
    KEEP_LOOP for (uint32_t h = 0; h < 8; h += UNROLL(n)) for (uint32_t g = h; g < h + UNROLL(n); g++) {
      const uint8_t *w = tile + 16 + 32 * g;
      v128_t w0 = wasm_i16x8_load8x8(w), w1 = wasm_i16x8_load8x8(w + 8);
      v128_t w2 = wasm_i16x8_load8x8(w + 16), w3 = wasm_i16x8_load8x8(w + 24);
      for (uint32_t t = 0; t < n; t++) {
        v128_t x8 = wasm_v128_load64_splat(x->q + (uint64_t)(token + t) * x->cols + 32 * b + 4 * g);
        sum[t][0].low = wasm_i32x4_add(sum[t][0].low, wasm_i32x4_dot_i16x8(w0, x8));
        sum[t][0].high = wasm_i32x4_add(sum[t][0].high, wasm_i32x4_dot_i16x8(w1, x8));
        sum[t][1].low = wasm_i32x4_add(sum[t][1].low, wasm_i32x4_dot_i16x8(w2, x8));
        sum[t][1].high = wasm_i32x4_add(sum[t][1].high, wasm_i32x4_dot_i16x8(w3, x8));
      }
    }
    for (uint32_t t = 0; t < n; t++) {
      v128_t sum0 = sum_total(sum[t][0]), sum1 = sum_total(sum[t][1]);
#endif
      v128_t d = wasm_v128_load32_splat(x->scale + ((uint64_t)(token + t) * x->cols / 32 + b));
      out[t][0] = wasm_f32x4_add(out[t][0], scaled(sum0, wasm_f32x4_mul(d0, d)));
      out[t][1] = wasm_f32x4_add(out[t][1], scaled(sum1, wasm_f32x4_mul(d1, d)));
    }
  }
}

/* Q4_K: 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum. The minima multiply the
 * sums of the activations, two sub-blocks at a time. */
INLINE void of_q4_k(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                      uint32_t n, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  for (uint32_t b = 0; b < blocks; b++, tile += 1184) {
    v128_t part[MAX_N][2], minimum[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) {
      part[t][0] = part[t][1] = wasm_i32x4_const_splat(0);
      minimum[t][0] = minimum[t][1] = wasm_i32x4_const_splat(0);
    }
    KEEP_LOOP for (uint32_t j = 0; j < 8; j++) {
      Sum sum[MAX_N][2];
      v128_t scales[2];
      begin_sums(sum, row, 0, 32, 0, n);
      dots_of_32(sum, tile + 160 + 128 * j, false, row, 256 * b + 32 * j, n);
      load_scales(tile + 32 + 8 * j, false, scales);
      add_scaled(part, sum, scales, n);
    }
    for (uint32_t p = 0; p < 4; p++) {
      v128_t m0 = wasm_u16x8_load8x8(tile + 96 + 16 * p), m1 = wasm_u16x8_load8x8(tile + 104 + 16 * p);
      for (uint32_t t = 0; t < n; t++) {
        v128_t sums = wasm_v128_load32_splat(row[t].sum32 + 8 * b + 2 * p);
        minimum[t][0] = wasm_i32x4_add(minimum[t][0], wasm_i32x4_dot_i16x8(m0, sums));
        minimum[t][1] = wasm_i32x4_add(minimum[t][1], wasm_i32x4_dot_i16x8(m1, sums));
      }
    }
    const uint16_t *d16 = (const uint16_t *)tile;
    v128_t d0 = load_f16x4(d16), d1 = load_f16x4(d16 + 4);
    v128_t m0 = load_f16x4(d16 + 8), m1 = load_f16x4(d16 + 12);
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      v128_t sum0 = wasm_f32x4_sub(scaled(part[t][0], wasm_f32x4_mul(d0, d)),
                                   scaled(minimum[t][0], wasm_f32x4_mul(m0, d)));
      v128_t sum1 = wasm_f32x4_sub(scaled(part[t][1], wasm_f32x4_mul(d1, d)),
                                   scaled(minimum[t][1], wasm_f32x4_mul(m1, d)));
      out[t][0] = wasm_f32x4_add(out[t][0], sum0);
      out[t][1] = wasm_f32x4_add(out[t][1], sum1);
    }
  }
}

/* Q6_K: 16 sub-blocks of 16, each with an 8-bit scale; weights + 32. */
INLINE void of_q6_k(const uint8_t *tile, uint32_t blocks, const Quantized *x, uint32_t token,
                      uint32_t n, v128_t out[][2]) {
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  for (uint32_t b = 0; b < blocks; b++, tile += 144 + 16 * UNIT_6) {
    v128_t part[MAX_N][2];
    for (uint32_t t = 0; t < n; t++) part[t][0] = part[t][1] = wasm_i32x4_const_splat(0);
    KEEP_LOOP for (uint32_t j = 0; j < 16; j++) {
      Sum sum[MAX_N][2];
      v128_t scales[2], w[4];
      begin_sums(sum, row, 256 * b + 16 * j, 16, -32, n);
      for (uint32_t h = 0; h < 2; h++) {
        unpack_half_6(tile + 144 + UNIT_6 * j + UNIT_6 / 2 * h, w);
        add_dots(sum, w, 2, row, 256 * b + 16 * j + 8 * h, n);
      }
      load_scales(tile + 16 + 8 * j, true, scales);
      add_scaled(part, sum, scales, n);
    }
    const uint16_t *d16 = (const uint16_t *)tile;
    v128_t d0 = load_f16x4(d16), d1 = load_f16x4(d16 + 4);
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + 8 * b);
      out[t][0] = wasm_f32x4_add(out[t][0], scaled(part[t][0], wasm_f32x4_mul(d0, d)));
      out[t][1] = wasm_f32x4_add(out[t][1], scaled(part[t][1], wasm_f32x4_mul(d1, d)));
    }
  }
}

/* The eight weights of one column as floats. */
INLINE void column(const uint8_t *tile, uint32_t k, uint32_t type, v128_t w[2]) {
  if (type == TYPE_F32) {
    w[0] = wasm_v128_load(tile + 32 * k);
    w[1] = wasm_v128_load(tile + 32 * k + 16);
  } else if (type == TYPE_F16) {
    w[0] = load_f16x4((const uint16_t *)tile + 8 * k);
    w[1] = load_f16x4((const uint16_t *)tile + 8 * k + 4);
  } else {
    w[0] = wasm_i32x4_shl(wasm_u32x4_load16x4((const uint16_t *)tile + 8 * k), 16);
    w[1] = wasm_i32x4_shl(wasm_u32x4_load16x4((const uint16_t *)tile + 8 * k + 4), 16);
  }
}

/* Float weights: even and odd columns in two sums, to hide the latency of the additions. */
INLINE void of_floats(const uint8_t *tile, uint32_t cols, uint32_t type, const Activations *a,
                       uint32_t token, uint32_t n, v128_t out[][2]) {
  v128_t odd[MAX_N][2];
  const float *x[MAX_N];
  for (uint32_t t = 0; t < n; t++) {
    x[t] = a->f32 + (uint64_t)(token + t) * a->stride;
    out[t][0] = out[t][1] = odd[t][0] = odd[t][1] = wasm_f32x4_const_splat(0.0f);
  }
  uint32_t k = 0;
  for (; k + 1 < cols; k += 2) {
    v128_t w[2], v[2];
    column(tile, k, type, w);
    column(tile, k + 1, type, v);
    for (uint32_t t = 0; t < n; t++) {
      v128_t xe = wasm_v128_load32_splat(x[t] + k), xo = wasm_v128_load32_splat(x[t] + k + 1);
      for (uint32_t h = 0; h < 2; h++) {
        out[t][h] = wasm_f32x4_add(out[t][h], wasm_f32x4_mul(w[h], xe));
        odd[t][h] = wasm_f32x4_add(odd[t][h], wasm_f32x4_mul(v[h], xo));
      }
    }
  }
  if (k < cols) {
    v128_t w[2];
    column(tile, k, type, w);
    for (uint32_t t = 0; t < n; t++)
      for (uint32_t h = 0; h < 2; h++)
        out[t][h] = wasm_f32x4_add(out[t][h], wasm_f32x4_mul(w[h], wasm_v128_load32_splat(x[t] + k)));
  }
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t h = 0; h < 2; h++) out[t][h] = wasm_f32x4_add(out[t][h], odd[t][h]);
}

UNROLLED(tile_q4_0, of_5_bits(tile, w->cols / 32, &a->block32, token, n, false, out))
UNROLLED(tile_q5_0, of_5_bits(tile, w->cols / 32, &a->block32, token, n, true, out))
UNROLLED(tile_q8_0, of_8_bits(tile, w->cols / 32, &a->block32, token, n, out))
UNROLLED(tile_q4_k, of_q4_k(tile, w->cols / 256, &a->block256, token, n, out))
UNROLLED(tile_q6_k, of_q6_k(tile, w->cols / 256, &a->block256, token, n, out))
UNROLLED(tile_f32, of_floats(tile, w->cols, TYPE_F32, a, token, n, out))
UNROLLED(tile_f16, of_floats(tile, w->cols, TYPE_F16, a, token, n, out))
UNROLLED(tile_bf16, of_floats(tile, w->cols, TYPE_BF16, a, token, n, out))

static void tile_times(const Tensor *w, const uint8_t *tile, const Activations *a, uint32_t token,
                       uint32_t n, v128_t out[][2]) {
  switch (w->type) {
    case TYPE_Q4_0: tile_q4_0(w, tile, a, token, n, out); break;
    case TYPE_Q4_1: tile_q4_1(w, tile, a, token, n, out); break;
    case TYPE_Q5_0: tile_q5_0(w, tile, a, token, n, out); break;
    case TYPE_Q5_1: tile_q5_1(w, tile, a, token, n, out); break;
    case TYPE_Q8_0: tile_q8_0(w, tile, a, token, n, out); break;
    case TYPE_IQ4_NL: tile_iq4_nl(w, tile, a, token, n, out); break;
    case TYPE_MXFP4: tile_mxfp4(w, tile, a, token, n, out); break;
    case TYPE_Q2_K: tile_q2_k(w, tile, a, token, n, out); break;
    case TYPE_Q3_K: tile_q3_k(w, tile, a, token, n, out); break;
    case TYPE_Q4_K: tile_q4_k(w, tile, a, token, n, out); break;
    case TYPE_Q5_K: tile_q5_k(w, tile, a, token, n, out); break;
    case TYPE_Q6_K: tile_q6_k(w, tile, a, token, n, out); break;
    case TYPE_IQ4_XS: tile_iq4_xs(w, tile, a, token, n, out); break;
    case TYPE_TQ1_0:
    case TYPE_TQ2_0: tile_ternary(w, tile, a, token, n, out); break;
    case TYPE_F32: tile_f32(w, tile, a, token, n, out); break;
    case TYPE_F16: tile_f16(w, tile, a, token, n, out); break;
    default: tile_bf16(w, tile, a, token, n, out); break;
  }
}

/* As many tokens at a time as the vector registers hold the sums of: the others wait their turn.
 * 8-bit weights and IQ4's have two sums a row. */
static uint32_t tokens_at_a_time(uint32_t type) {
  bool two_sums = type == TYPE_Q8_0 || type == TYPE_IQ4_NL || type == TYPE_IQ4_XS;
  return two_sums ? 2 : SOME_TOKENS;
}

/* From so many tokens on it pays to unpack weights once for all of them. Those of 8 bits, and
 * floats, are not unpacked. */
static bool takes_gemm(uint32_t type, uint32_t n) {
  return n >= 6 && type_block(type) > 1 && type != TYPE_Q8_0;
}

/* One tile, of any type, times each token. */
static void tile_by_tile(const Tensor *w, uint32_t tile, const Activations *a, uint32_t n, float *out,
                         uint32_t stride) {
  const uint8_t *data = w->data + tile * tile_bytes(w->type, w->cols);
  out += tile * TILE;
  for (uint32_t t = 0; t < n;) {
    v128_t sums[MAX_N][2];
    uint32_t step = min_u32(n - t, tokens_at_a_time(w->type));
    if (step == 3) step = 2;
    tile_times(w, data, a, t, step, sums);
    for (uint32_t i = 0; i < step; i++, t++) {
      wasm_v128_store(out + (uint64_t)t * stride, sums[i][0]);
      wasm_v128_store(out + (uint64_t)t * stride + 4, sums[i][1]);
    }
  }
}

void matmul_tiles(const Tensor *w, uint32_t tile, uint32_t end, const Activations *a, uint32_t n,
                  float *out, uint32_t stride) {
  if (w->low)
    planes_times(w, tile, end, &a->block32, 0, n, out + (uint64_t)tile * TILE, stride);
  else if (takes_gemm(w->type, n))
    gemm(w, tile, end, a, n, out, stride);
  else
    for (; tile < end; tile++) tile_by_tile(w, tile, a, n, out, stride);
}
