/* The KV cache: for each sequence and layer the keys and values of the positions so far.
 *
 * A layer with a sliding window keeps a ring of what it can still see, one pass more than the
 * window. Each head of a cell is in 16 bits with one scale (heads.c), or in 8 bits with a scale for
 * each block of 32.
 */
#include "attention.h"

#define SCALED 32 /* numbers that share a scale in 8 bits */

EXPORT(mlr_position) int32_t mlr_position(uint32_t sequence) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  return (int32_t)state.sequences[sequence].position;
}

static Cells place_cells(uint64_t count) {
  const Config *c = &weights.config;
  Cells cells = {.scale = place(2 * count * c->n_kv_heads * scales_per_head())};
  if (state.cache_in_8_bits)
    cells.q8 = place(count * c->kv_dim);
  else
    cells.q16 = place(2 * count * c->n_kv_heads * head_width());
  return cells;
}

static uint32_t ring_capacity(void) {
  return min_u32(state.n_ctx, weights.config.sliding_window + state.batch);
}

void place_cache(void) {
  if (!weights.config.causal) { /* a pass is all there is, a layer at a time */
    LayerCache shared = {state.batch, place_cells(state.batch), place_cells(state.batch)};
    for (uint32_t i = 0; i < weights.config.n_layers; i++) state.cache[i] = shared;
    return;
  }
  for (uint32_t i = 0; i < weights.config.n_layers; i++) {
    LayerCache *cache = &state.cache[i];
    cache->capacity = layer_slides(&weights.config, i) ? ring_capacity() : state.n_ctx;
    uint64_t count = (uint64_t)state.n_sequences * cache->capacity;
    cache->k = place_cells(count);
    cache->v = place_cells(count);
  }
}

/* One head's part of a cell, in blocks: q = round(x * 127 / amax), the scale amax / 127. */
static void store_head_8(const float *x, int8_t *q, uint16_t *scale) {
  uint32_t dim = weights.config.head_dim;
  for (uint32_t start = 0; start < dim; start += SCALED, scale++) {
    uint32_t end = min_u32(start + SCALED, dim);
    float amax = 0.0f;
    for (uint32_t i = start; i < end; i++) {
      float magnitude = __builtin_fabsf(x[i]);
      amax = magnitude > amax ? magnitude : amax;
    }
    *scale = f32_to_f16(amax / 127.0f);
    float inverse = amax > 0.0f ? 127.0f / amax : 0.0f;
    for (uint32_t i = start; i < end; i++) q[i] = (int8_t)__builtin_rintf(x[i] * inverse);
  }
}

typedef uint16_t Round(const float *x, int16_t *out);

static void store_head(const Cells *cells, uint64_t cell, uint32_t kv_head, const float *x, Round *round) {
  const Config *c = &weights.config;
  uint64_t at = cell * c->n_kv_heads + kv_head;
  if (cells->q16)
    cells->scale[at] = round(x, cells->q16 + at * head_width());
  else
    store_head_8(x, cells->q8 + at * c->head_dim, cells->scale + at * scales_per_head());
}

/* The key and the value, kv_dim floats each, of a token of the pass. */
void store_cells(uint32_t layer, uint32_t token, const float *k, const float *v) {
  const Config *c = &weights.config;
  const LayerCache *cache = &state.cache[layer];
  uint64_t cell = cell_of(cache, state.pass[token].sequence, state.pass[token].position);
  for (uint32_t h = 0; h < c->n_kv_heads; h++) {
    store_head(&cache->k, cell, h, k + h * c->head_dim, round_key);
    store_head(&cache->v, cell, h, v + h * c->head_dim, round_value);
  }
}

/* Columns `column` … of a head in 8 bits as 16-bit integers; returns their scale. For a key the largest
 * scale of a block bounds the norm. */
static float unpack_8(const Cells *cells, uint64_t at, uint32_t column, uint32_t columns, bool key,
                      int16_t *out) {
  uint32_t dim = weights.config.head_dim, blocks = scales_per_head();
  const int8_t *q = cells->q8 + at * dim;
  const uint16_t *scales = cells->scale + at * blocks;
  float largest = 0.0f;
  for (uint32_t i = 0; i < blocks; i++) largest = larger(f16_to_f32(scales[i] & 0x7fff), largest);
  float scale = key ? key_scale(127.0f * __builtin_sqrtf((float)dim) * largest) : value_scale(127.0f * largest);
  float inverse = 1.0f / scale;
  const v128_t rounder = wasm_f32x4_const_splat(ROUNDER);
  for (uint32_t start = column; start < column + columns; start += SCALED) {
    v128_t factor = wasm_f32x4_splat(f16_to_f32(scales[start / SCALED]) * inverse);
    for (uint32_t i = start; i < min_u32(start + SCALED, column + columns); i += 8) {
      v128_t eight = wasm_i16x8_load8x8(q + i);
      v128_t low = wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(eight));
      v128_t high = wasm_f32x4_convert_i32x4(wasm_i32x4_extend_high_i16x8(eight));
      low = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(low, factor), rounder), rounder);
      high = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(high, factor), rounder), rounder);
      wasm_v128_store(out + i - column, wasm_i16x8_narrow_i32x4(low, high));
    }
  }
  return scale;
}

/* Columns `column` … `column + columns - 1` of one head's keys or values of `count` positions in 16
 * bits, and their scales. They begin at a multiple of SCALED; what comes after head_dim may be
 * anything. The last position is repeated up to a multiple of four. `room` (positions, head_width) may
 * be used for them. */
void read_cells(const LayerCache *cache, bool keys, uint32_t sequence, uint32_t position, uint32_t count,
                uint32_t kv_head, uint32_t column, uint32_t columns, int16_t *room, Cell16 *out) {
  const Config *c = &weights.config;
  const Cells *cells = keys ? &cache->k : &cache->v;
  uint64_t cell = cell_of(cache, sequence, position), end = ((uint64_t)sequence + 1) * cache->capacity;
  for (uint32_t i = 0; i < count; i += 4) {
    uint64_t at[4];
    for (uint32_t j = 0; j < 4; j++) {
      at[j] = cell * c->n_kv_heads + kv_head;
      if (i + j + 1 >= count) continue;
      cell++;
      if (c->causal && cell == end) cell -= cache->capacity;
    }
    v128_t scales;
    if (cells->q16) {
      for (uint32_t j = 0; j < 4; j++) out->rows[i + j] = cells->q16 + at[j] * head_width() + column;
      const uint16_t *s = cells->scale;
      scales = head_scales(wasm_i32x4_make(s[at[0]], s[at[1]], s[at[2]], s[at[3]]));
    } else {
      float s[4];
      for (uint32_t j = 0; j < 4; j++) {
        int16_t *row = room + (i + j) * head_width();
        s[j] = unpack_8(cells, at[j], column, columns, keys, row);
        out->rows[i + j] = row;
      }
      scales = wasm_f32x4_make(s[0], s[1], s[2], s[3]);
    }
    wasm_v128_store(out->scales + i, scales);
  }
}

/* The positions that a token sees in a sliding layer; 0: no layer slides. */
static uint32_t window(void) {
  const Config *c = &weights.config;
  return c->sliding_pattern > 1 ? c->sliding_window : 0;
}

/* After a pass: where a sequence is now, and how much of it the rings have lost. */
void advance(uint32_t sequence, uint32_t position) {
  Sequence *s = &state.sequences[sequence];
  s->position = position;
  if (window() && position > ring_capacity() && s->held_from < position - ring_capacity())
    s->held_from = position - ring_capacity();
}

/* Whether sliding layers hold all that the token at position `n` can see before it. */
static bool rings_reach(const Sequence *s, uint32_t n) {
  return s->held_from == 0 || n + 1 >= window() + s->held_from;
}

static void forget_all(Sequence *s) {
  s->position = s->held_from = s->ring_start = 0;
  s->restored = 0;
}

/* Forget a sequence's positions from `n` on. A sliding layer keeps only its window: where that has
 * been overwritten the answer is ERROR_STATE and nothing changes; 0 always works. */
EXPORT(mlr_truncate) int32_t mlr_truncate(uint32_t sequence, uint32_t n) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  Sequence *s = &state.sequences[sequence];
  if (n > s->position) return ERROR_ARGUMENT;
  if (n == 0) {
    forget_all(s);
    return OK;
  }
  if (!rings_reach(s, n)) return ERROR_STATE;
  s->position = n;
  return OK;
}

static void copy_cells(const Cells *cells, uint64_t from, uint64_t to, uint64_t count) {
  const Config *c = &weights.config;
  uint64_t scales = (uint64_t)c->n_kv_heads * scales_per_head(), width = c->n_kv_heads * head_width();
  if (cells->q16)
    __builtin_memmove(cells->q16 + to * width, cells->q16 + from * width, 2 * count * width);
  else
    __builtin_memmove(cells->q8 + to * c->kv_dim, cells->q8 + from * c->kv_dim, count * c->kv_dim);
  __builtin_memmove(cells->scale + to * scales, cells->scale + from * scales, 2 * count * scales);
}

/* Make sequence `to` the first `n` positions of `from`; refused where truncating `from` would be. */
EXPORT(mlr_fork) int32_t mlr_fork(uint32_t from, uint32_t to, uint32_t n) {
  if (from >= state.n_sequences || to >= state.n_sequences || n > state.sequences[from].position)
    return ERROR_ARGUMENT;
  if (!state.ready) return ERROR_STATE;
  if (from == to || n == 0) return mlr_truncate(to, n);
  const Sequence *source = &state.sequences[from];
  if (!rings_reach(source, n)) return ERROR_STATE;
  for (uint32_t i = 0; i < weights.config.n_layers; i++) {
    const LayerCache *cache = &state.cache[i];
    uint64_t a = (uint64_t)from * cache->capacity, b = (uint64_t)to * cache->capacity;
    uint32_t count = is_ring(cache) ? cache->capacity : n;
    copy_cells(&cache->k, a, b, count);
    copy_cells(&cache->v, a, b, count);
  }
  Sequence *target = &state.sequences[to];
  __builtin_memcpy(target->history, source->history, 4ull * n);
  target->position = n;
  target->held_from = source->held_from;
  target->ring_start = source->ring_start;
  target->restored = 0;
  return OK;
}

/* Turn the keys of positions from `first` on back by `discard` positions, where keys are turned. */
static void rotate_back(uint32_t layer, uint32_t sequence, uint32_t first, uint32_t discard) {
  const Config *c = &weights.config;
  if (c->positions != POSITIONS_ROPE || (c->rope_skip && (layer + 1) % c->rope_skip == 0)) return;
  const LayerCache *cache = &state.cache[layer];
  uint32_t half = c->rope_dim / 2;
  const float *frequency = state.inverse_frequency + (layer_slides(c, layer) ? half : 0);
  for (uint32_t i = 0; i < half; i++) {
    double sine, cosine;
    sin_cos_f64((double)discard * (double)frequency[i], &sine, &cosine);
    state.rope[2 * i] = (float)cosine;
    state.rope[2 * i + 1] = -(float)sine;
  }
  Cell16 one;
  for (uint32_t p = first; p < state.sequences[sequence].position; p++)
    for (uint32_t h = 0; h < c->n_kv_heads; h++) {
      float *key = state.input.f32; /* not attention's memory: the logits may still be read */
      int16_t *room = (int16_t *)(key + state.input.stride);
      read_cells(cache, true, sequence, p, 1, h, 0, c->head_dim, room, &one);
      for (uint32_t i = 0; i < c->head_dim; i++) key[i] = (float)one.rows[0][i] * one.scales[0];
      rotate(key, state.rope, c->rope_dim, c->rope_style == ROPE_HALF);
      store_head(&cache->k, cell_of(cache, sequence, p), h, key, round_key);
    }
}

/* Context shifting: drop the positions from `keep` to `keep + discard` and move the later ones
 * down, their keys turned to their new positions. Rings keep their cells and turn instead. Refused
 * where positions are learned or change the frequencies, and where too few are left after `keep` to
 * fill a sliding window. */
EXPORT(mlr_shift) int32_t mlr_shift(uint32_t sequence, uint32_t keep, uint32_t discard) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  const Config *c = &weights.config;
  Sequence *s = &state.sequences[sequence];
  if (!state.ready || !c->causal || c->positions == POSITIONS_LEARNED || c->rope_scaling == SCALING_LONGROPE)
    return ERROR_STATE;
  if (discard > s->position || keep > s->position - discard) return ERROR_ARGUMENT;
  uint32_t left = s->position - discard; /* positions after the shift */
  bool partial = window() && (ring_capacity() < state.n_ctx || s->held_from);
  if (partial && left + 1 < window() + keep) return ERROR_STATE;
  uint32_t first = keep + discard;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    const LayerCache *cache = &state.cache[i];
    if (is_ring(cache)) {
      rotate_back(i, sequence, first > s->held_from ? first : s->held_from, discard);
    } else {
      rotate_back(i, sequence, first, discard);
      uint64_t from = cell_of(cache, sequence, first), to = cell_of(cache, sequence, keep);
      copy_cells(&cache->k, from, to, s->position - first);
      copy_cells(&cache->v, from, to, s->position - first);
    }
  }
  __builtin_memmove(s->history + keep, s->history + first, 4ull * (s->position - first));
  s->position = left;
  if (partial) {
    s->ring_start = (s->ring_start + discard) % ring_capacity();
    s->held_from = s->held_from > first ? s->held_from - discard : keep;
  }
  return OK;
}
