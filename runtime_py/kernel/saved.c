/* A sequence as bytes: a header, its tokens, then for each layer the keys and the values that can
 * still be seen, in the order of their positions. It can be restored into any load of the same
 * model with the same type of KV cache and a context that it fits.
 */
#include "kernel.h"

#define SAVED_MAGIC 0x53524c4du /* "MLRS" */

typedef struct {
  uint32_t magic, version;
  uint64_t model; /* hash of the descriptor */
  uint32_t position, first; /* `first`: where the cells of sliding layers begin */
  uint32_t in_8_bits, reserved;
} Saved;

enum { SAVED_VERSION = 2 };

/* A part of the saved form is being copied: bytes [at, end) of it, between the staging buffer and memory. */
typedef struct {
  uint64_t at, end;
  uint64_t passed; /* bytes of the saved form gone through so far */
  bool saving;
} Copy;

/* The next `size` bytes of the saved form lie at `memory`: copy those that are in the part. */
static void copy_part(Copy *copy, void *memory, uint64_t size) {
  uint64_t start = copy->passed, end = start + size;
  copy->passed = end;
  uint64_t low = start > copy->at ? start : copy->at, high = end < copy->end ? end : copy->end;
  if (low >= high) return;
  uint8_t *there = (uint8_t *)memory + (low - start), *here = state.staging + (low - copy->at);
  if (copy->saving)
    __builtin_memcpy(here, there, high - low);
  else
    __builtin_memcpy(there, here, high - low);
}

static void copy_cells(Copy *copy, const LayerCache *cache, const Cells *cells, uint32_t sequence,
                       uint32_t first, uint32_t end) {
  const Config *c = &weights.config;
  uint64_t scales = (uint64_t)c->n_kv_heads * scales_per_head(), width = c->n_kv_heads * head_width();
  for (uint32_t p = first; p < end; p++) {
    uint64_t cell = cell_of(cache, sequence, p);
    if (cells->q16)
      copy_part(copy, cells->q16 + cell * width, 2 * width);
    else
      copy_part(copy, cells->q8 + cell * c->kv_dim, c->kv_dim);
    copy_part(copy, cells->scale + cell * scales, 2 * scales);
  }
}

/* Go through the whole saved form; `copy->passed` is its size afterwards. */
static void copy_all(Copy *copy, uint32_t sequence, Saved *header) {
  copy_part(copy, header, sizeof *header);
  copy_part(copy, state.sequences[sequence].history, 4ull * header->position);
  for (uint32_t i = 0; i < weights.config.n_layers; i++) {
    const LayerCache *cache = &state.cache[i];
    uint32_t first = layer_slides(&weights.config, i) ? header->first : 0;
    copy_cells(copy, cache, &cache->k, sequence, first, header->position);
    copy_cells(copy, cache, &cache->v, sequence, first, header->position);
  }
}

/* What a sliding layer can see from the end is all that is saved of it. */
static uint32_t first_seen(uint32_t position) {
  const Config *c = &weights.config;
  return c->sliding_window && position > c->sliding_window ? position - c->sliding_window : 0;
}

static Saved header_of(uint32_t sequence) {
  const Sequence *s = &state.sequences[sequence];
  return (Saved){SAVED_MAGIC, SAVED_VERSION, state.model_hash, s->position, first_seen(s->position),
                 state.cache_in_8_bits, 0};
}

static uint64_t saved_bytes(uint32_t sequence, Saved header) {
  Copy nothing = {.saving = true};
  copy_all(&nothing, sequence, &header);
  return nothing.passed;
}

/* How many bytes the saved form of a sequence has. */
EXPORT(mlr_sequence_bytes) double mlr_sequence_bytes(uint32_t sequence) {
  if (!state.ready || !weights.config.causal) return ERROR_STATE;
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  return (double)saved_bytes(sequence, header_of(sequence));
}

/* The staging buffer lies over the logits, and over what they could still be computed from. */
static void forget_outputs(void) {
  state.n_outputs = 0;
  state.choosing = false;
}

/* Put `n` bytes of the saved form, from `offset` on, into the staging buffer. What the last pass
 * computed can then no longer be asked for. */
EXPORT(mlr_save) int32_t mlr_save(uint32_t sequence, double offset, uint32_t n) {
  if (!state.ready || !weights.config.causal) return ERROR_STATE;
  if (sequence >= state.n_sequences || n > STAGING_BYTES || !(offset >= 0.0 && offset < 0x1p52))
    return ERROR_ARGUMENT;
  Saved header = header_of(sequence);
  forget_outputs();
  Copy copy = {.at = (uint64_t)offset, .end = (uint64_t)offset + n, .saving = true};
  copy_all(&copy, sequence, &header);
  return copy.end > copy.passed ? ERROR_ARGUMENT : OK;
}

static bool header_is_right(const Saved *h) {
  return h->magic == SAVED_MAGIC && h->version == SAVED_VERSION && h->model == state.model_hash &&
         h->position >= 1 && h->position <= state.n_ctx && h->first == first_seen(h->position) &&
         h->in_8_bits == state.cache_in_8_bits && h->reserved == 0;
}

/* Take `n` bytes of a saved form, which lie in the staging buffer, from `offset` on. Calls come in
 * order, the first with the whole header; the sequence is empty until the last byte has come. What the
 * last pass computed can no longer be asked for. */
EXPORT(mlr_restore) int32_t mlr_restore(uint32_t sequence, double offset, uint32_t n) {
  static Saved headers[MAX_SEQUENCES];
  if (!state.ready || !weights.config.causal) return ERROR_STATE;
  if (sequence >= state.n_sequences || n < 1 || n > STAGING_BYTES) return ERROR_ARGUMENT;
  forget_outputs();
  Sequence *s = &state.sequences[sequence];
  Saved *header = &headers[sequence];
  if (offset == 0.0) {
    s->position = s->held_from = s->ring_start = 0;
    s->restored = 0;
    if (n < sizeof *header) return ERROR_SAVED;
    __builtin_memcpy(header, state.staging, sizeof *header);
    if (!header_is_right(header)) return ERROR_SAVED;
  }
  if (offset != (double)s->restored || (offset != 0.0 && !s->restored)) return ERROR_ORDER;
  Copy copy = {.at = s->restored, .end = s->restored + n};
  Saved checked = *header; /* its bytes come by once more */
  copy_all(&copy, sequence, header);
  *header = checked;
  if (copy.end > copy.passed) {
    s->restored = 0;
    return ERROR_SAVED;
  }
  s->restored = copy.end;
  if (copy.end < copy.passed) return OK;
  s->restored = 0;
  for (uint32_t i = 0; i < header->position; i++)
    if ((uint32_t)s->history[i] >= weights.config.n_vocab) return ERROR_SAVED;
  s->position = header->position;
  s->held_from = header->first;
  return OK;
}
