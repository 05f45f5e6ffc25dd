/* Attention of one token: scores against the cached keys, softmax, weighted sum of the values.
 *
 * A task is one token and up to HEADS_PER_TASK query heads that share a key/value head, so that a
 * cached f16 is widened once for all of them. Each head's sums have an order of their own, which
 * depends on neither the grouping nor the threads. A layer with a sliding window keeps a ring:
 * position p lies at p % capacity.
 */
#include "attention.h"
#include "numeric.h"

INLINE uint32_t heads_per_task(const Config *c) {
  return c->n_heads / c->n_kv_heads % HEADS_PER_TASK == 0 ? HEADS_PER_TASK : 1;
}

uint32_t attention_tasks(uint32_t n_tokens) {
  return n_tokens * (weights.config.n_heads / heads_per_task(&weights.config));
}

/* scores[h][i] = q_h . k_i for `count` consecutive rows of the cache; returns nothing else. */
INLINE void score_rows(const uint16_t *k, uint32_t count, uint32_t stride, const float *q,
                       uint32_t dim, uint32_t heads, float *scores, uint32_t scores_stride) {
  for (uint32_t i = 0; i < count; i++, k += stride) {
    v128_t even[HEADS_PER_TASK], odd[HEADS_PER_TASK];
    for (uint32_t h = 0; h < heads; h++) even[h] = odd[h] = wasm_f32x4_const_splat(0.0f);
    uint32_t d = 0;
    for (; d + 8 <= dim; d += 8) {
      v128_t k0 = load_f16x4(k + d), k1 = load_f16x4(k + d + 4);
      for (uint32_t h = 0; h < heads; h++) {
        const float *qh = q + h * dim + d;
        even[h] = wasm_f32x4_add(even[h], wasm_f32x4_mul(wasm_v128_load(qh), k0));
        odd[h] = wasm_f32x4_add(odd[h], wasm_f32x4_mul(wasm_v128_load(qh + 4), k1));
      }
    }
    if (d < dim)
      for (uint32_t h = 0; h < heads; h++)
        even[h] = wasm_f32x4_add(
            even[h], wasm_f32x4_mul(wasm_v128_load(q + h * dim + d), load_f16x4(k + d)));
    for (uint32_t h = 0; h < heads; h++)
      scores[h * scores_stride + i] = sum_f32x4(wasm_f32x4_add(even[h], odd[h]));
  }
}

/* Softmax of scale * scores in place. The sum has four interleaved parts. */
INLINE void softmax(float *scores, uint32_t n, float scale) {
  float largest = scores[0];
  for (uint32_t i = 1; i < n; i++) largest = scores[i] > largest ? scores[i] : largest;
  v128_t shift = wasm_f32x4_splat(largest), by = wasm_f32x4_splat(scale);
  v128_t sums = wasm_f32x4_const_splat(0.0f);
  for (uint32_t i = n; i < round_up(n, 4); i++) scores[i] = -__builtin_inff();
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t e = exp_f32x4(wasm_f32x4_mul(wasm_f32x4_sub(wasm_v128_load(scores + i), shift), by));
    wasm_v128_store(scores + i, e);
    sums = wasm_f32x4_add(sums, e);
  }
  v128_t inverse = wasm_f32x4_splat(1.0f / sum_f32x4(sums));
  for (uint32_t i = 0; i < n; i += 4)
    wasm_v128_store(scores + i, wasm_f32x4_mul(wasm_v128_load(scores + i), inverse));
}

/* acc[h] += sum of weights[h][i] * v_i, four columns of `count` consecutive rows. */
INLINE void mix_rows(const uint16_t *v, uint32_t count, uint32_t stride, const float *p,
                     uint32_t p_stride, uint32_t heads, uint32_t vectors, v128_t acc[][4]) {
  for (uint32_t i = 0; i < count; i++, v += stride) {
    v128_t value[4];
    for (uint32_t j = 0; j < vectors; j++) value[j] = load_f16x4(v + 4 * j);
    for (uint32_t h = 0; h < heads; h++) {
      v128_t w = wasm_v128_load32_splat(p + h * p_stride + i);
      for (uint32_t j = 0; j < vectors; j++)
        acc[h][j] = wasm_f32x4_add(acc[h][j], wasm_f32x4_mul(w, value[j]));
    }
  }
}

/* The visible positions as at most two runs of consecutive rows of the cache. */
typedef struct {
  uint32_t start[2], count[2];
} Runs;

INLINE void mix_columns(const uint16_t *v, const Runs *runs, uint32_t stride, const float *p,
                        uint32_t p_stride, uint32_t heads, uint32_t vectors, float *out,
                        uint32_t out_stride) {
  v128_t acc[HEADS_PER_TASK][4];
  for (uint32_t h = 0; h < heads; h++)
    for (uint32_t j = 0; j < vectors; j++) acc[h][j] = wasm_f32x4_const_splat(0.0f);
  mix_rows(v + (uint64_t)runs->start[0] * stride, runs->count[0], stride, p, p_stride, heads, vectors, acc);
  mix_rows(v + (uint64_t)runs->start[1] * stride, runs->count[1], stride, p + runs->count[0], p_stride,
           heads, vectors, acc);
  for (uint32_t h = 0; h < heads; h++)
    for (uint32_t j = 0; j < vectors; j++) wasm_v128_store(out + h * out_stride + 4 * j, acc[h][j]);
}

INLINE void attend(uint32_t layer, uint32_t token, uint32_t head, uint32_t heads, float *scores) {
  const Config *c = &weights.config;
  const LayerCache *cache = &state.cache[layer];
  uint32_t position = state.pass[token].position, dim = c->head_dim;
  uint32_t visible = position + 1;
  if (layer_slides(c, layer)) visible = min_u32(visible, c->sliding_window);
  Runs runs;
  runs.start[0] = (position + 1 - visible) % cache->capacity;
  runs.count[0] = min_u32(visible, cache->capacity - runs.start[0]);
  runs.start[1] = 0;
  runs.count[1] = visible - runs.count[0];

  uint32_t kv_head = head / (c->n_heads / c->n_kv_heads), stride = c->kv_dim;
  uint64_t first = first_cell(cache, state.pass[token].sequence) * stride + kv_head * dim;
  const uint16_t *k = cache->k + first, *v = cache->v + first;
  const float *q = state.q + (uint64_t)token * round_up(c->q_dim, TILE) + head * dim;
  uint32_t p_stride = state.scores_stride;
  for (uint32_t r = 0, at = 0; r < 2; at += runs.count[r], r++)
    score_rows(k + (uint64_t)runs.start[r] * stride, runs.count[r], stride, q, dim, heads, scores + at,
               p_stride);
  for (uint32_t h = 0; h < heads; h++) softmax(scores + h * p_stride, visible, (float)c->attention_scale);

  float *out = state.input.f32 + (uint64_t)token * state.input.stride + head * dim;
  uint32_t d = 0;
  for (; d + 16 <= dim; d += 16)
    mix_columns(v + d, &runs, stride, scores, p_stride, heads, 4, out + d, dim);
  for (; d < dim; d += 4)
    mix_columns(v + d, &runs, stride, scores, p_stride, heads, 1, out + d, dim);
}

void attention_task(uint32_t layer, uint32_t task, uint32_t thread) {
  uint32_t heads = heads_per_task(&weights.config);
  uint32_t tasks_per_token = weights.config.n_heads / heads;
  uint32_t token = task / tasks_per_token, head = task % tasks_per_token * heads;
  float *scores = state.scores + (uint64_t)thread * HEADS_PER_TASK * state.scores_stride;
  if (heads == 1)
    attend(layer, token, head, 1, scores);
  else
    attend(layer, token, head, HEADS_PER_TASK, scores);
}
