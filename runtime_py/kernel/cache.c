/* The KV cache: for each sequence and layer the keys and values of the positions so far. A layer
 * with a sliding window keeps a ring of what it can still see.
 */
#include "kernel.h"

EXPORT(mlr_position) int32_t mlr_position(uint32_t sequence) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  return (int32_t)state.sequences[sequence].position;
}

void place_cache(void) {
  const Config *c = &weights.config;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    LayerCache *cache = &state.cache[i];
    cache->capacity = state.n_ctx;
    if (layer_slides(c, i)) cache->capacity = min_u32(state.n_ctx, c->sliding_window + state.batch);
    uint64_t cells = (uint64_t)state.n_sequences * cache->capacity;
    cache->k = place(2 * cells * c->kv_dim);
    cache->v = place(2 * cells * c->kv_dim);
  }
}

/* The key and the value, kv_dim floats each, of a token of the pass. */
void store_cells(uint32_t layer, uint32_t token, const float *k, const float *v) {
  const Config *c = &weights.config;
  const LayerCache *cache = &state.cache[layer];
  const BatchToken *at = &state.pass[token];
  uint64_t cell = first_cell(cache, at->sequence) + at->position % cache->capacity;
  store_f16(k, c->kv_dim, cache->k + cell * c->kv_dim);
  store_f16(v, c->kv_dim, cache->v + cell * c->kv_dim);
}

/* Forget a sequence's positions from `n` on. A sliding layer keeps only its window: where that has
 * been overwritten the answer is ERROR_STATE and nothing changes; 0 always works. */
EXPORT(mlr_truncate) int32_t mlr_truncate(uint32_t sequence, uint32_t n) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  Sequence *s = &state.sequences[sequence];
  if (n > s->position) return ERROR_ARGUMENT;
  const Config *c = &weights.config;
  for (uint32_t i = 0; i < c->n_layers && n > 0; i++) {
    if (!layer_slides(c, i)) continue;
    uint32_t oldest = n > c->sliding_window ? n - c->sliding_window : 0;
    if (s->written - oldest > state.cache[i].capacity) return ERROR_STATE;
  }
  s->position = n;
  if (n == 0) s->written = 0;
  return OK;
}
