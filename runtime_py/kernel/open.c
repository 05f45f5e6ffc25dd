/* The exported functions before evaluation: laying memory out and taking weights in.
 *
 * A host calls, in this order: mlr_open with a descriptor in the staging buffer; mlr_bytes to learn
 * how much memory the layout takes; mlr_feed for the bytes of the tensors in file order; mlr_ready;
 * mlr_worker on each further instance; then those of eval.c, cache.c and sampler.c at will.
 */
#include "planes.h"

Weights weights;
State state;
extern uint8_t __heap_base;

#define MAGIC 0x44524c4du /* "MLRD" */

typedef struct {
  uint32_t magic, version, n_fields, n_tensors;
} Header; /* then double[n_fields] in the order of CONFIG_FIELDS, and Entry[n_tensors] */

typedef struct {
  uint32_t slot, layer, type, rows, cols;
  uint32_t depth; /* experts, else 1 */
  double offset;  /* of the tensor in the file, bytes */
} Entry;

enum {
#define COUNT(name, low, high) FIELD_##name,
  CONFIG_FIELDS(COUNT, COUNT)
#undef COUNT
  N_FIELDS
};

EXPORT(mlr_abi) uint32_t mlr_abi(void) { return ABI_VERSION; }

static uint8_t *heap_start(void) {
  return (uint8_t *)(((uintptr_t)&__heap_base + 63) / 64 * 64);
}

/* Where the descriptor is to lie before mlr_open, and what comes in parts afterwards: there it shares
 * memory with what a pass computes, so this is to be asked again. */
EXPORT(mlr_staging) double mlr_staging(void) {
  return address_of(state.staging ? state.staging : heap_start());
}
EXPORT(mlr_staging_size) uint32_t mlr_staging_size(void) { return STAGING_BYTES; }

static bool within(uint32_t value, uint32_t low, uint32_t high) { return value >= low && value <= high; }

/* Each field within its range and, unless it is a real number, whole. */
static bool read_fields(const double *field) {
  Config *c = &weights.config;
#define REAL(name, low, high)                                      \
  {                                                                \
    double value = field[FIELD_##name];                            \
    if (!(value >= (low) && value <= (high))) return false;        \
    c->name = value;                                               \
  }
#define WHOLE(name, low, high)                                     \
  {                                                                \
    double value = field[FIELD_##name];                            \
    if (!(value >= (low) && value <= (high))) return false;        \
    c->name = (uint32_t)value;                                     \
    if ((double)c->name != value) return false;                    \
  }
  CONFIG_FIELDS(WHOLE, REAL)
#undef REAL
#undef WHOLE
  c->q_dim = c->n_heads * c->head_dim;
  c->kv_dim = c->n_kv_heads * c->head_dim;
  return true;
}

/* What the fields must be together: vectors of four are loaded from every row that is normed, added
 * or attended to, and what an enumeration chooses has to be there. */
static bool is_consistent(const Config *c) {
  if (c->n_embd % 4 || c->head_dim % 4 || c->n_heads % c->n_kv_heads || c->q_dim > MAX_WIDTH) return false;
  if (c->positions == POSITIONS_ROPE && (c->rope_dim < 2 || c->rope_dim > c->head_dim || c->rope_dim % 2))
    return false;
  if ((c->rope_scaling == SCALING_YARN || c->rope_scaling == SCALING_LONGROPE) && !c->rope_original_context)
    return false;
  if (c->causal && (c->pooling == POOLING_MEAN || c->pooling == POOLING_CLS)) return false;
  if (!c->causal && c->pooling == POOLING_NONE) return false;
  if (c->sub_norms && c->n_ff % 4) return false;
  if (c->fused_qkv && (c->q_dim % TILE || c->kv_dim % TILE)) return false;
  if (c->fused_gate_up && c->n_ff % TILE) return false;
  if ((c->fused_gate_up || c->n_experts) && !c->gated) return false;
  if (c->n_experts)
    return c->n_experts_used >= 1 && c->n_experts_used <= c->n_experts && c->n_ff_expert &&
           c->n_ff_expert % TILE == 0 && c->n_embd % TILE == 0 && !c->fused_gate_up && !c->sub_norms;
  return c->n_ff && !c->n_experts_used && !c->n_ff_expert && !c->n_ff_shared;
}

/* Addresses handed out from the heap's start; 64-bit so that too much is noticed. */
static uint64_t top;
void place_anew(void) { top = (uintptr_t)heap_start(); }
void *place(uint64_t bytes) {
  uint64_t at = top;
  top += (bytes + 63) / 64 * 64;
  return at <= UINTPTR_MAX ? (void *)(uintptr_t)at : NULL;
}

/* The tables of tensors, empty. They are written while memory is laid out, so they come before the rest,
 * and it is checked that there is memory for them: false if not. */
static bool place_tensors(uint32_t n_tensors) {
  uint64_t layers = weights.config.n_layers * (uint64_t)sizeof *weights.layers;
  weights.in_file_order = place(n_tensors * (uint64_t)sizeof *weights.in_file_order);
  weights.layers = place(layers);
  if (top > (uint64_t)__builtin_wasm_memory_size(0) << 16) return false;
  __builtin_memset(weights.layers, 0, layers);
  return true;
}

static int32_t read_tensors(const Entry *entries, uint32_t n_tensors) {
  uint32_t n_layers = weights.config.n_layers;
  double end = 0.0;
  for (uint32_t i = 0; i < n_tensors; i++) {
    Entry e = entries[i];
    if (e.slot >= N_SLOTS || (e.slot < ATTN_NORM ? e.layer != 0 : e.layer >= n_layers))
      return ERROR_TENSOR;
    Tensor *t = e.slot < ATTN_NORM ? &weights.shared[e.slot] : &weights.layers[e.layer][e.slot - ATTN_NORM];
    SlotRule rule = slot_rule(e.slot);
    if (t->size || !rule.allowed || e.rows != rule.rows || e.cols != rule.cols || e.depth != rule.depth ||
        !type_is_known(e.type) || e.cols % type_block(e.type) || (!rule.matrix && e.type != TYPE_F32))
      return ERROR_TENSOR;
    if (!(e.offset >= end && e.offset < 0x1p52)) return ERROR_TENSOR;
    uint32_t rows = e.rows * e.depth; /* experts one below the other, each a multiple of TILE */
    *t = (Tensor){.type = e.type, .rows = rows, .cols = e.cols, .tiled = rule.matrix,
                  .offset = (uint64_t)e.offset, .size = rows * row_bytes(e.type, e.cols)};
    t->data = place(t->tiled ? ((uint64_t)rows + TILE - 1) / TILE * tile_bytes(e.type, e.cols)
                             : 4ull * round_up(e.cols, TILE));
    end = e.offset + (double)t->size;
    weights.in_file_order[i] = t;
  }
  weights.n_tensors = n_tensors;
  for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
    if (!slot_rule(slot).required) continue;
    if (slot < ATTN_NORM) {
      if (!weights.shared[slot].size) return ERROR_MISSING;
    } else {
      for (uint32_t i = 0; i < n_layers; i++)
        if (!layer_tensor(i, slot)->size) return ERROR_MISSING;
    }
  }
  return OK;
}

static void place_quantized(Quantized *x, uint64_t rows, uint32_t cols) {
  uint64_t n = rows * cols;
  x->cols = cols;
#ifdef __wasm_relaxed_simd__
  x->q = place(n);
#else
  x->q = place(2 * n);
#endif
  x->scale = place(n / 32 * 4);
  x->sum16 = place(n / 16 * 2);
  x->sum32 = place(n / 32 * 2);
#ifdef MLR_NARROW
  x->splat = place(4 * n);
  x->minus16 = place(n / 16 * 4);
  x->minus32 = place(n / 32 * 4);
#endif
}

/* Rows of activations, in each form up to so many. */
void place_activations(Activations *a, uint64_t rows, Widths widths) {
  a->stride = round_up(widths.f32, TILE);
  a->f32 = place(4 * rows * a->stride);
  place_quantized(&a->block32, rows, round_up(widths.block32, 32));
#ifdef __wasm_relaxed_simd__
  a->block32.split = place(2 * rows * a->block32.cols);
#endif
  place_quantized(&a->block256, rows, round_up(widths.block256, 256));
}

static float *place_rows(uint32_t width) { return place(4ull * state.batch * round_up(width, TILE)); }
static uint32_t wider(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* How wide the matrices are that multiply each form; that of floats has to hold `f32` too. */
Widths widths_of_matrices(uint32_t f32) {
  Widths widths = {.f32 = f32};
  for (uint32_t i = 0; i < weights.n_tensors; i++) {
    const Tensor *t = weights.in_file_order[i];
    if (!t->tiled) continue;
    uint32_t *width = uses_block32(t->type)    ? &widths.block32
                      : uses_block256(t->type) ? &widths.block256
                                               : &widths.f32;
    *width = wider(*width, t->cols);
  }
  return widths;
}

/* Go on at `start`, over what was placed since; returns the furthest end so far. */
static uint64_t go_back(uint64_t start, uint64_t end) {
  uint64_t furthest = top > end ? top : end;
  top = start;
  return furthest;
}

/* What is never in use at the same time has one place: attention, the feed-forward network, the
 * logits, and the staging buffer. Each is written after a barrier that follows the last use of the one
 * before. The logits hold until the next pass, so what hosts call between two passes must not use the
 * first two; what goes through the staging buffer ends them. */
static void place_in_turns(void) {
  const Config *c = &weights.config;
  uint32_t n_ff = wider(c->n_experts ? 0 : c->n_ff, c->n_ff_shared);
  uint64_t start = top, end = 0;
  state.q = place_rows(c->q_dim);
  state.k = place_rows(c->kv_dim);
  state.v = place_rows(c->kv_dim);
  place_attention();
  end = go_back(start, end);
  state.gate = place_rows(n_ff);
  state.up = place_rows(n_ff);
  if (c->n_experts) place_experts();
  end = go_back(start, end);
  if (has_logits(c)) state.logits = place(4ull * state.max_outputs * round_up(c->n_vocab, TILE));
  end = go_back(start, end);
  state.staging = place(STAGING_BYTES);
  top = go_back(start, end);
}

/* What a whole pass uses, and in the same place the sampler's candidates: they are used within a call
 * after the pass, and when there are logits nothing is left to compute from its activations. */
static void place_pass(void) {
  const Config *c = &weights.config;
  uint32_t input = wider(wider(c->n_embd, c->q_dim), c->n_ff_shared);
  uint64_t start = top, end = 0;
  state.x = place_rows(c->n_embd);
  state.branch = place_rows(c->n_embd);
  state.rope = place(8ull * state.batch * c->rope_dim);
  place_activations(&state.input, state.batch, widths_of_matrices(input));
  end = go_back(start, end);
  if (has_logits(c)) state.candidates = place(8ull * c->n_vocab);
  top = go_back(start, end);
}

static void place_scratch(void) {
  const Config *c = &weights.config;
  state.stacks = place((uint64_t)(state.n_threads - 1) * STACK_BYTES);
  for (uint32_t i = 0; i < state.n_sequences; i++)
    state.sequences[i].history = place(4ull * state.n_ctx);
  state.tokens = place(4ull * state.batch);
  state.token_sequences = place(4ull * state.batch);
  state.wanted = place(4ull * state.batch);
  state.token_types = place(4ull * state.batch);
  state.pass = place(sizeof(BatchToken) * (uint64_t)state.batch);
  state.texts = place(sizeof(Run) * (uint64_t)state.batch);
  state.runs = place(sizeof(Run) * (uint64_t)state.batch);
  state.outputs = place(4ull * state.max_outputs);
  state.slopes = place(4ull * c->n_heads);
  state.inverse_frequency = place(4ull * c->rope_dim);
  place_choices();
  state.alternatives = place(sizeof(Alternative) * MAX_ALTERNATIVES);
  place_pass();
  place_in_turns();
  state.masks = place(4ull * state.n_sequences * round_up(c->n_vocab, 32) / 32);
  uint64_t largest = 0;
  for (uint32_t i = 0; i < weights.n_tensors; i++) {
    const Tensor *t = weights.in_file_order[i];
    uint64_t bytes = TILE * row_bytes(t->type, t->cols);
    largest = bytes > largest ? bytes : largest;
  }
  state.carry = place(largest);
}

/* FNV-1a */
static uint64_t hash(const uint8_t *bytes, uint32_t n) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (uint32_t i = 0; i < n; i++) h = (h ^ bytes[i]) * 0x100000001b3ull;
  return h;
}

/* Read the descriptor in the staging buffer and lay out the memory for `n_sequences` of `n_ctx`
 * positions each and `n_threads` threads. Touches no memory beyond the module's own data, the descriptor
 * and the tables of tensors behind it. Bit 0 of `flags` asks for a KV cache in 8 bits. Once: tensors of a
 * descriptor that was refused half-way stay. */
EXPORT(mlr_open)
int32_t mlr_open(uint32_t bytes, uint32_t n_ctx, uint32_t n_threads, uint32_t n_sequences,
                 uint32_t flags) {
  const uint8_t *descriptor = heap_start();
  const Header *h = (const Header *)descriptor;
  const double *fields = (const double *)(h + 1);
  const Entry *entries = (const Entry *)(fields + N_FIELDS);
  const uint64_t fixed = sizeof(Header) + N_FIELDS * sizeof(double);
  if (weights.in_file_order) return ERROR_STATE;
  if (bytes < fixed || bytes > STAGING_BYTES || h->magic != MAGIC || h->version != DESCRIPTOR_VERSION ||
      h->n_fields != N_FIELDS || bytes != fixed + (uint64_t)h->n_tensors * sizeof(Entry) ||
      h->n_tensors > ATTN_NORM + MAX_LAYERS * (N_SLOTS - ATTN_NORM) ||
      !read_fields(fields) || !is_consistent(&weights.config))
    return ERROR_DESCRIPTOR;
  if (!within(n_ctx, 1, 1 << 24) || !within(n_threads, 1, MAX_THREADS) ||
      !within(n_sequences, 1, MAX_SEQUENCES) || flags > 1)
    return ERROR_ARGUMENT;
  const Config *c = &weights.config;
  if (c->positions == POSITIONS_LEARNED && n_ctx > c->context_length) return ERROR_ARGUMENT;
  place_anew();
  place(bytes); /* the descriptor, where it lies */
  if (!place_tensors(h->n_tensors)) return ERROR_MEMORY;
  uint64_t start = top;
  int32_t error = read_tensors(entries, h->n_tensors);
  if (error) return error;
  place_head();
  state.weight_bytes = top - start;
  state.n_ctx = n_ctx;
  state.n_threads = n_threads;
  state.n_sequences = n_sequences;
  state.batch = c->causal ? BATCH : wider(n_ctx, BATCH); /* a text is never divided */
  state.max_outputs = min_u32(wider(n_sequences, MAX_OUTPUTS), state.batch);
  state.cache_in_8_bits = flags & 1;
  state.model_hash = hash(descriptor, bytes);
  place_cache();
  state.cache_bytes = top - start - state.weight_bytes;
  place_scratch();
  state.total_bytes = top;
  threads_reset();
  return OK;
}

/* Bytes of memory that the layout takes: 0 all of it, 1 weights, 2 KV cache, 3 the rest. */
EXPORT(mlr_bytes) double mlr_bytes(uint32_t kind) {
  switch (kind) {
    case 0: return (double)state.total_bytes;
    case 1: return (double)state.weight_bytes;
    case 2: return (double)state.cache_bytes;
    default: return (double)(state.total_bytes - state.weight_bytes - state.cache_bytes);
  }
}

/* Whole rows go to their tile; a tile that is not whole waits in `carry`. */
static void take(Tensor *t, const uint8_t *bytes, uint64_t n) {
  if (!t->tiled) {
    __builtin_memcpy(t->data + t->fed, bytes, n);
    t->fed += n;
    return;
  }
  uint64_t row = row_bytes(t->type, t->cols), tile = TILE * row;
  while (n) {
    uint64_t index = t->fed / tile, done = t->fed % tile;
    uint64_t whole = t->size - index * tile < tile ? t->size - index * tile : tile;
    uint64_t missing = whole - done, part = n < missing ? n : missing;
    uint8_t *to = t->data + index * tile_bytes(t->type, t->cols);
    if (done || part < whole) __builtin_memcpy(state.carry + done, bytes, part);
    const uint8_t *raw = done ? state.carry : bytes;
    if (part == missing && t->low)
      weights.head_is_bounded &= planes_repack(t, (uint32_t)index, (uint32_t)(whole / row), raw);
    else if (part == missing)
      repack_tile(t->type, t->cols, (uint32_t)(whole / row), raw, to);
    bytes += part;
    n -= part;
    t->fed += part;
  }
}

/* Whether no number of a vector is infinite or NaN. */
static bool is_finite(const Tensor *vector) {
  const float *value = (const float *)vector->data;
  for (uint32_t i = 0; i < vector->cols; i++)
    if (!(__builtin_fabsf(value[i]) < __builtin_inff())) return false;
  return true;
}

/* Take `n` bytes of the file, which lie in the staging buffer and begin at `offset` of the file.
 * Calls come in file order; bytes between tensors are passed over. */
EXPORT(mlr_feed) int32_t mlr_feed(double offset, uint32_t n) {
  if (!state.total_bytes || state.ready) return ERROR_STATE;
  if (n > STAGING_BYTES || !(offset >= 0.0 && offset < 0x1p52)) return ERROR_ARGUMENT;
  if (state.total_bytes > (uint64_t)__builtin_wasm_memory_size(0) << 16) return ERROR_MEMORY;
  uint64_t at = (uint64_t)offset, end = at + n;
  while (at < end && weights.n_feeding < weights.n_tensors) {
    Tensor *t = weights.in_file_order[weights.n_feeding];
    if (end <= t->offset) break;
    uint64_t next = t->offset + t->fed;
    if (at < next) at = next < end && t->fed == 0 ? next : at;
    if (at != next) return ERROR_ORDER;
    uint64_t stop = t->offset + t->size < end ? t->offset + t->size : end;
    take(t, state.staging + (at - (uint64_t)offset), stop - at);
    at = stop;
    if (t->fed < t->size) break;
    weights.n_feeding++;
    if (!t->tiled && !weights.damaged && !is_finite(t)) weights.damaged = weights.n_feeding;
  }
  return OK;
}

/* After the last byte: the model can be evaluated. */
EXPORT(mlr_ready) int32_t mlr_ready(void) {
  if (!state.total_bytes || state.ready) return ERROR_STATE;
  if (weights.n_feeding != weights.n_tensors) return ERROR_INCOMPLETE;
  split_fused();
  rope_frequencies();
  prepare_attention();
  state.ready = true;
  return OK;
}

/* Which vector holds what is infinite or NaN: the first such by its place in the file, counted from 1; 0
 * where all are finite. Quantizing its products would make numbers of it, so a host is to ask after mlr_ready. */
EXPORT(mlr_damaged) uint32_t mlr_damaged(void) { return weights.damaged; }
