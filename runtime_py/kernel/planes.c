/* An output head in 8 bits (Q8_0), in two planes: of each weight the high nibble here and the low
 * nibble there.
 *
 * The high nibbles alone bound a logit from above. A weight is q = 16 h + l - 128 with h and l from
 * 0 to 15, so the integer product of a block of 32 with the activations x is
 *
 *   S = 16 sum(h x) - 128 sum(x) + sum(l x),   and at most   16 sum(h x) - 128 sum(x) + 15 sum(max(x, 0)).
 *
 * The bound then takes the same floating-point steps as the logit itself: a product with a scale that
 * is not negative, and a sum. Rounding never changes the order of two numbers, so the bound holds for
 * the rounded logit too, without any allowance. head.c uses it to find the largest logit while
 * reading about half of the head.
 *
 * A block of the high plane is that of Q4_0 (f16 scale[8], 8 four-bit groups), and of the low plane its
 * 8 groups; see repack.c. Together they take what Q8_0 takes.
 */
#include "planes.h"

#include "repack.h"
#include "tile.h"

enum { HIGH_BLOCK = 144, LOW_BLOCK = 128, MAX_NIBBLE = 15 };

/* 16 times a sum */
INLINE v128_t sixteen_times(Sum s) {
  if (NARROW) return sum_scaled(s, wasm_i16x8_const_splat(16));
  return wasm_i32x4_shl(sum_total(s), 4);
}

static inline uint32_t blocks_of(const Tensor *w) { return w->cols / 32; }
static inline uint8_t *high_tile(const Tensor *w, uint32_t tile) {
  return w->data + (uint64_t)tile * blocks_of(w) * HIGH_BLOCK;
}
static inline uint8_t *low_tile(const Tensor *w, uint32_t tile) {
  return w->low + (uint64_t)tile * blocks_of(w) * LOW_BLOCK;
}

/* A tile times the rows of activations from `token` on: logits, or with `slack` their bounds. */
INLINE void times(const Tensor *w, uint32_t tile, const Quantized *x, uint32_t token, uint32_t n,
                  const int32_t *slack, v128_t out[][2]) {
  const uint8_t *high = high_tile(w, tile), *low = low_tile(w, tile);
  uint32_t blocks = blocks_of(w);
  Row row[MAX_N];
  begin_rows(x, token, n, row, out);
  for (uint32_t b = 0; b < blocks; b++, high += HIGH_BLOCK, low += LOW_BLOCK) {
    Sum sum[MAX_N][2];
    v128_t total[MAX_N][2];
    begin_sums(sum, row, 32 * b, 32, 0, n);
    dots_of_32(sum, high + 16, false, row, 32 * b, n);
    for (uint32_t t = 0; t < n; t++) {
      v128_t rest = wasm_i32x4_splat(slack ? slack[t * blocks + b] : -128 * row[t].sum32[b]);
      for (uint32_t h = 0; h < 2; h++) total[t][h] = wasm_i32x4_add(sixteen_times(sum[t][h]), rest);
    }
    if (!slack) {
      begin_sums(sum, row, 32 * b, 32, 0, n);
      dots_of_32(sum, low, false, row, 32 * b, n);
      for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < 2; h++) total[t][h] = wasm_i32x4_add(total[t][h], sum_total(sum[t][h]));
    }
    v128_t d0 = load_f16x4((const uint16_t *)high), d1 = load_f16x4((const uint16_t *)high + 4);
    for (uint32_t t = 0; t < n; t++) {
      v128_t d = wasm_v128_load32_splat(row[t].scale + b);
      out[t][0] = wasm_f32x4_add(out[t][0], scaled(total[t][0], wasm_f32x4_mul(d0, d)));
      out[t][1] = wasm_f32x4_add(out[t][1], scaled(total[t][1], wasm_f32x4_mul(d1, d)));
    }
  }
}

INLINE void store(v128_t out[][2], uint32_t n, float *to, uint32_t stride) {
  for (uint32_t t = 0; t < n; t++) {
    wasm_v128_store(to + (uint64_t)t * stride, out[t][0]);
    wasm_v128_store(to + (uint64_t)t * stride + 4, out[t][1]);
  }
}

APART void times_1(const Tensor *w, uint32_t tile, const Quantized *x, uint32_t token, float *to) {
  v128_t out[1][2];
  times(w, tile, x, token, 1, NULL, out);
  store(out, 1, to, 0);
}
APART void times_2(const Tensor *w, uint32_t tile, const Quantized *x, uint32_t token, float *to,
                   uint32_t stride) {
  v128_t out[2][2];
  times(w, tile, x, token, 2, NULL, out);
  store(out, 2, to, stride);
}
APART void bounds_1(const Tensor *w, uint32_t tile, const Quantized *x, uint32_t token,
                    const int32_t *slack, float *to) {
  v128_t out[1][2];
  times(w, tile, x, token, 1, slack, out);
  store(out, 1, to, 0);
}
APART void bounds_2(const Tensor *w, uint32_t tile, const Quantized *x, uint32_t token,
                    const int32_t *slack, float *to, uint32_t stride) {
  v128_t out[2][2];
  times(w, tile, x, token, 2, slack, out);
  store(out, 2, to, stride);
}

void planes_times(const Tensor *w, uint32_t tile, uint32_t end, const Quantized *x, uint32_t token,
                  uint32_t n, float *out, uint32_t stride) {
  for (; tile < end; tile++, out += TILE) {
    uint32_t t = 0;
    for (; t + 2 <= n; t += 2) times_2(w, tile, x, token + t, out + (uint64_t)t * stride, stride);
    if (t < n) times_1(w, tile, x, token + t, out + (uint64_t)t * stride);
  }
}

void planes_bounds(const Tensor *w, uint32_t tile, uint32_t end, const Quantized *x, uint32_t n,
                   const int32_t *slack, float *out, uint32_t stride) {
  uint32_t blocks = blocks_of(w);
  for (; tile < end; tile++) {
    float *to = out + (uint64_t)tile * TILE;
    uint32_t t = 0;
    for (; t + 2 <= n; t += 2)
      bounds_2(w, tile, x, t, slack + (uint64_t)t * blocks, to + (uint64_t)t * stride, stride);
    if (t < n) bounds_1(w, tile, x, t, slack + (uint64_t)t * blocks, to + (uint64_t)t * stride);
  }
}

void planes_slack(const Quantized *x, uint32_t row, uint32_t cols, int32_t *slack) {
  for (uint32_t b = 0; b < cols / 32; b++) {
    uint64_t at = (uint64_t)row * x->cols + 32 * b;
    int32_t positive = 0;
    for (uint32_t k = 0; k < 32; k++) positive += x->q[at + k] > 0 ? x->q[at + k] : 0;
    slack[b] = MAX_NIBBLE * positive - 128 * x->sum32[at / 32];
  }
}

void planes_place(Tensor *t) {
  uint32_t tiles = (t->rows + TILE - 1) / TILE;
  t->low = t->data + (uint64_t)tiles * blocks_of(t) * HIGH_BLOCK;
}

bool planes_repack(Tensor *t, uint32_t tile, uint32_t rows, const uint8_t *raw) {
  uint8_t *high = high_tile(t, tile), *low = low_tile(t, tile);
  uint32_t blocks = blocks_of(t);
  bool bounded = true;
  if (rows < TILE) {
    __builtin_memset(high, 0, (uint64_t)blocks * HIGH_BLOCK);
    __builtin_memset(low, 0, (uint64_t)blocks * LOW_BLOCK);
  }
  v128_t offset = wasm_i8x16_const_splat((int8_t)0x80);
  for (uint32_t b = 0; b < blocks; b++, high += HIGH_BLOCK, low += LOW_BLOCK)
    for (uint32_t r = 0; r < rows; r++) {
      const uint8_t *block = raw + ((uint64_t)r * blocks + b) * 34;
      uint8_t highs[32], lows[32];
      for (uint32_t h = 0; h < 32; h += 16) {
        v128_t q = wasm_v128_xor(wasm_v128_load(block + 2 + h), offset);
        wasm_v128_store(highs + h, high_nibbles(q));
        wasm_v128_store(lows + h, low_nibbles(q));
      }
      copy_u16(high + 2 * r, block);
      put_nibbles(highs, r, 8, high + 16);
      put_nibbles(lows, r, 8, low);
      bounded &= !(block[1] & 0x80); /* the sign of the scale */
    }
  return bounded;
}

void planes_dequantize(const Tensor *t, uint32_t row, float *out) {
  const uint8_t *high = high_tile(t, row / TILE), *low = low_tile(t, row / TILE);
  uint32_t r = row % TILE;
  for (uint32_t b = 0; b < blocks_of(t); b++, high += HIGH_BLOCK, low += LOW_BLOCK) {
    float d = f16_to_f32(load_u16(high + 2 * r));
    for (uint32_t k = 0; k < 32; k++) {
      int32_t q = (int32_t)(nibble(high + 16, r, k) << 4 | nibble(low, r, k)) - 128;
      *out++ = d * (float)q;
    }
  }
}
