/* Attention's arithmetic: a block of positions for the rows of a task.
 *
 * Products are of 16-bit integers (heads.c) and their sums exact. The weights of a block, each times
 * the scale of its position's value, become integers too; their sum is limited so that with values of
 * 14 bits all sums fit 32.
 */
#include "attention.h"

/* Weights as integers: their rounding adds up to half of BLOCK to the sum, 16383 times which is to be
 * below 2^31. */
#define LARGEST_SUM 130900.0f
#define LARGEST_WEIGHT 32767.0f
#define SMALLEST_WEIGHT 1e-30f /* that is not 0: of those of a block the largest */

/* Four dot products at a time have one vector of sums: a[i] summed is lane i. */
INLINE v128_t sum_each(v128_t a, v128_t b, v128_t c, v128_t d) {
  v128_t ab = wasm_i32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
  v128_t cd = wasm_i32x4_add(wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), wasm_i32x4_shuffle(c, d, 2, 6, 3, 7));
  return wasm_i32x4_add(wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3));
}

/* scores[r][i] = q[r] . keys[i] for `count` rows from `r` on and four keys, which have `scales`. */
INLINE void score_4(const Rows *rows, uint32_t r, uint32_t count, const int16_t *const *keys,
                    const float *scales, float *scores) {
  uint32_t width = head_width();
  const int16_t *q[2] = {rows->q[r], rows->q[r + count - 1]}, *k[4] = {keys[0], keys[1], keys[2], keys[3]};
  v128_t sums[2][4];
  for (uint32_t j = 0; j < count; j++)
    for (uint32_t i = 0; i < 4; i++) sums[j][i] = wasm_i32x4_const_splat(0);
#pragma clang loop unroll(disable) vectorize(disable)
  for (uint32_t d = 0; d < width; d += 8)
    for (uint32_t j = 0; j < count; j++) {
      v128_t x = wasm_v128_load(q[j] + d);
      for (uint32_t i = 0; i < 4; i++)
        sums[j][i] = wasm_i32x4_add(sums[j][i], wasm_i32x4_dot_i16x8(x, wasm_v128_load(k[i] + d)));
    }
  for (uint32_t j = 0; j < count; j++) {
    v128_t sum = wasm_f32x4_convert_i32x4(sum_each(sums[j][0], sums[j][1], sums[j][2], sums[j][3]));
    v128_t scale = wasm_f32x4_mul(wasm_v128_load(scales), wasm_f32x4_splat(rows->q_scale[r + j]));
    wasm_v128_store(scores + (r + j) * BLOCK, wasm_f32x4_mul(sum, scale));
  }
}

/* The scores of up to CELLS keys from position `start` on, which is a multiple of four. What is after
 * `count` gets some score. */
void score_cells(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                        uint32_t count, int16_t *room) {
  Cell16 keys;
  const LayerCache *cache = &state.cache[layer];
  read_cells(cache, true, sequence, start, count, kv_head, 0, weights.config.head_dim, room, &keys);
  float *scores = rows->scores + start % BLOCK;
  for (uint32_t r = 0; r < rows->n; r += 2)
    for (uint32_t i = 0; i < count; i += 4) {
      if (r + 1 < rows->n)
        score_4(rows, r, 2, keys.rows + i, keys.scales + i, scores + i);
      else
        score_4(rows, r, 1, keys.rows + i, keys.scales + i, scores + i);
    }
}

/* The scores capped, less slope * distance, for the positions from `start` on, in place; returns the
 * largest of each lane. */
INLINE v128_t adjust(float *scores, float start, float at, float slope) {
  const Config *c = &weights.config;
  v128_t cap = wasm_f32x4_splat((float)c->attention_softcap), most = wasm_f32x4_const_splat(UNSEEN);
  v128_t distance = wasm_f32x4_sub(wasm_f32x4_splat(start - at), wasm_f32x4_const(0, -1, -2, -3));
  for (uint32_t i = 0; i < BLOCK; i += 4) {
    v128_t x = wasm_v128_load(scores + i);
    if (c->attention_softcap > 0.0) x = soft_cap_f32x4(x, cap);
    if (slope > 0.0f) {
      x = wasm_f32x4_sub(x, wasm_f32x4_mul(wasm_f32x4_abs(distance), wasm_f32x4_splat(slope)));
      distance = wasm_f32x4_add(distance, wasm_f32x4_const_splat(4.0f));
    }
    wasm_v128_store(scores + i, x);
    most = wasm_f32x4_pmax(most, x);
  }
  return most;
}

/* Weights, by lane at most `most` and `total` in sum, to integers in the same place; returns their step.
 * They are not negative, so the integers are the last places of what is between 2^23 and 2^24. */
static float round_weights(float *weights_of, v128_t most, v128_t total) {
  float largest = largest_f32x4(most), step = 0.0f, inverse = 0.0f;
  if (largest > SMALLEST_WEIGHT) {
    step = larger(largest / LARGEST_WEIGHT, sum_f32x4(total) / LARGEST_SUM);
    inverse = 1.0f / step;
  }
  v128_t by = wasm_f32x4_splat(inverse), magic = wasm_f32x4_const_splat(0x1p23f);
  v128_t mask = wasm_i32x4_const_splat(0x7fff);
  for (uint32_t i = 0; i < BLOCK; i += 8) {
    v128_t low = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(weights_of + i), by), magic);
    v128_t high = wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(weights_of + i + 4), by), magic);
    v128_t eight = wasm_i16x8_narrow_i32x4(wasm_v128_and(low, mask), wasm_v128_and(high, mask));
    wasm_v128_store((int16_t *)weights_of + i, eight);
  }
  return step;
}

/* From scores to weights exp(adjusted score - largest) for the block of positions from `start` on,
 * times the `scales` of the values there, as integers; what a row does not see gets the weight 0. */
static void weigh(Rows *rows, uint32_t start, const float *scales, uint32_t dim) {
  for (uint32_t r = 0; r < rows->n; r++) {
    float *scores = rows->scores + r * BLOCK;
    uint32_t from = rows->from[r] > start ? rows->from[r] - start : 0;
    uint32_t to = rows->to[r] > start ? min_u32(rows->to[r] - start, BLOCK) : 0;
    rows->step[r] = 0.0f;
    if (from >= to) continue;
    for (uint32_t i = 0; i < from; i++) scores[i] = UNSEEN;
    for (uint32_t i = to; i < BLOCK; i++) scores[i] = UNSEEN;
    v128_t most = adjust(scores, (float)start, rows->at[r], rows->slope[r]);
    for (uint32_t i = 0; i < from; i++) scores[i] = UNSEEN; /* a cap has lifted it */
    for (uint32_t i = to; i < BLOCK; i++) scores[i] = UNSEEN;
    float largest = larger(largest_f32x4(most), rows->largest[r]);
    v128_t shift = wasm_f32x4_splat(largest), sums = wasm_f32x4_const_splat(0.0f), total = sums;
    most = sums;
    for (uint32_t i = 0; i < BLOCK; i += 4) {
      v128_t weight = exp_f32x4(wasm_f32x4_sub(wasm_v128_load(scores + i), shift));
      v128_t scaled = wasm_f32x4_mul(weight, wasm_v128_load(scales + i));
      wasm_v128_store(scores + i, scaled);
      sums = wasm_f32x4_add(sums, weight);
      total = wasm_f32x4_add(total, scaled);
      most = wasm_f32x4_pmax(most, scaled);
    }
    if (largest > rows->largest[r]) { /* else by 1, which changes nothing */
      v128_t down = exp_f32x4(wasm_f32x4_splat(rows->largest[r] - largest));
      rows->sum[r] *= wasm_f32x4_extract_lane(down, 0);
      for (uint32_t d = 0; d < dim; d += 4)
        wasm_v128_store(rows->out[r] + d, wasm_f32x4_mul(wasm_v128_load(rows->out[r] + d), down));
    }
    rows->largest[r] = largest;
    rows->sum[r] += sum_f32x4(sums);
    rows->step[r] = round_weights(scores, most, total);
  }
}

/* out[r] += step * sum of weights[r][i] * values[i], for `count` rows from `r` on and 4 * `vectors`
 * columns; positions, `pairs` times two, from `at` of the block on. */
INLINE void mix(const Rows *rows, uint32_t r, uint32_t count, const int16_t *values, uint32_t width,
                uint32_t at, uint32_t pairs, uint32_t column, uint32_t vectors) {
  const int16_t *w = (const int16_t *)(rows->scores + r * BLOCK) + at;
  v128_t acc[2][4];
  for (uint32_t j = 0; j < count; j++)
    for (uint32_t i = 0; i < vectors; i++) acc[j][i] = wasm_i32x4_const_splat(0);
  values += 2 * column;
#pragma clang loop unroll(disable) vectorize(disable)
  for (uint32_t p = 0; p < pairs; p++, values += 2 * width, w += 2)
    for (uint32_t j = 0; j < count; j++) {
      v128_t two = splat_32(w + 2 * j * BLOCK);
      for (uint32_t i = 0; i < vectors; i++)
        acc[j][i] = wasm_i32x4_add(acc[j][i], wasm_i32x4_dot_i16x8(two, wasm_v128_load(values + 8 * i)));
    }
  for (uint32_t j = 0; j < count; j++) {
    v128_t step = wasm_f32x4_splat(rows->step[r + j]);
    for (uint32_t i = 0; i < vectors; i++) {
      float *out = rows->out[r + j] + column + 4 * i;
      v128_t more = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(acc[j][i]), step);
      wasm_v128_store(out, wasm_f32x4_add(wasm_v128_load(out), more));
    }
  }
}

/* All rows and `dim` columns; `values` (pairs, width, 2). */
static void mix_pairs(const Rows *rows, const int16_t *values, uint32_t at, uint32_t pairs, uint32_t dim) {
  uint32_t width = round_up(dim, 8);
  for (uint32_t r = 0; r < rows->n; r += 2) {
    uint32_t column = 0;
    if (r + 1 < rows->n) {
      for (; column + 16 <= dim; column += 16) mix(rows, r, 2, values, width, at, pairs, column, 4);
      for (; column < dim; column += 4) mix(rows, r, 2, values, width, at, pairs, column, 1);
    } else {
      for (; column + 16 <= dim; column += 16) mix(rows, r, 1, values, width, at, pairs, column, 4);
      for (; column < dim; column += 4) mix(rows, r, 1, values, width, at, pairs, column, 1);
    }
  }
}

/* The positions of the block from `start` on that rows look at, `*first` on. */
uint32_t end_in_block(const Rows *rows, uint32_t start, uint32_t *first) {
  uint32_t from = rows->from[0];
  *first = (from > start ? from - start : 0) / CELLS * CELLS;
  return min_u32(rows->to[rows->n - 1] - start, BLOCK);
}

void score_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                        int16_t *room) {
  uint32_t first, last = end_in_block(rows, start, &first);
  for (uint32_t at = first; at < last; at += CELLS)
    score_cells(rows, layer, sequence, kv_head, start + at, min_u32(CELLS, last - at), room);
}

/* Two rows of integers, `n` of them, to pairs. */
INLINE void interleave(const int16_t *a, const int16_t *b, uint32_t n, int16_t *out) {
  for (uint32_t i = 0; i < n; i += 8) {
    v128_t x = wasm_v128_load(a + i), y = wasm_v128_load(b + i);
    wasm_v128_store(out + 2 * i, wasm_i16x8_shuffle(x, y, 0, 8, 1, 9, 2, 10, 3, 11));
    wasm_v128_store(out + 2 * i + 8, wasm_i16x8_shuffle(x, y, 4, 12, 5, 13, 6, 14, 7, 15));
  }
}

void mix_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                      uint32_t column, uint32_t columns, int16_t *room) {
  uint32_t first, last = end_in_block(rows, start, &first), width = round_up(columns, 8);
  float scales[BLOCK] = {0};
  Cell16 values;
  read_cells(&state.cache[layer], false, sequence, start + first, last - first, kv_head, column, columns,
             room + BLOCK * head_width(), &values);
  __builtin_memcpy(scales + first, values.scales, 4 * (last - first));
  for (uint32_t i = 0; i < last - first; i += 2) /* an odd end is there twice, once with the weight 0 */
    interleave(values.rows[i], values.rows[i + 1], width, room + i * width);
  weigh(rows, start, scales, columns);
  mix_pairs(rows, room, first, (last - first + 1) / 2, columns);
}
