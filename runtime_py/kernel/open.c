/* The exported functions before evaluation: laying memory out and taking weights in.
 *
 * A host calls, in this order: mlr_open with a descriptor in the staging buffer; mlr_bytes to learn
 * how much memory the layout takes; mlr_feed for the bytes of the tensors in file order; mlr_ready;
 * mlr_worker on each further instance; then those of eval.c, cache.c and sampler.c at will.
 */
#include "attention.h"
#include "kernel.h"

Weights weights;
State state;
uint8_t staging[STAGING_BYTES] __attribute__((aligned(64)));
extern uint8_t __heap_base;

#define MAGIC 0x44524c4du /* "MLRD" */

typedef struct {
  uint32_t magic, version;
  uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, rope_dim;
  uint32_t rope_halves, sliding_window, sliding_pattern, gelu;
  float norm_epsilon, embedding_scale, attention_scale, rope_scale;
  double rope_theta, rope_theta_local;
  uint32_t n_tensors, reserved;
} Header;

typedef struct {
  uint32_t slot, layer, type, rows, cols, reserved;
  double offset; /* of the tensor in the file, bytes */
} Entry;

EXPORT(mlr_abi) uint32_t mlr_abi(void) { return ABI_VERSION; }
EXPORT(mlr_staging) double mlr_staging(void) { return address_of(staging); }
EXPORT(mlr_staging_size) uint32_t mlr_staging_size(void) { return STAGING_BYTES; }

static bool within(uint32_t value, uint32_t low, uint32_t high) { return value >= low && value <= high; }
static bool positive(double value) { return value > 0.0 && value < 1e15; }

static bool read_config(const Header *h) {
  Config *c = &weights.config;
  if (h->magic != MAGIC || h->version != DESCRIPTOR_VERSION) return false;
  if (!within(h->n_layers, 1, MAX_LAYERS) || !within(h->n_embd, 4, 1 << 20) || h->n_embd % 4 ||
      !within(h->n_ff, 1, 1 << 20) || !within(h->n_heads, 1, 4096) ||
      !within(h->n_kv_heads, 1, h->n_heads) || h->n_heads % h->n_kv_heads ||
      !within(h->head_dim, 4, 4096) || h->head_dim % 4 || !within(h->n_vocab, 1, 1 << 22) ||
      !within(h->rope_dim, 2, h->head_dim) || h->rope_dim % 2 ||
      h->n_heads * h->head_dim > 1 << 20 || h->sliding_window > 1 << 24)
    return false;
  if (!(h->norm_epsilon >= 0.0f && h->norm_epsilon <= 1.0f) || !positive((double)h->embedding_scale) ||
      !positive((double)h->attention_scale) || !positive((double)h->rope_scale) ||
      !(h->rope_theta >= 1.0 && positive(h->rope_theta)) ||
      !(h->rope_theta_local >= 1.0 && positive(h->rope_theta_local)))
    return false;
  *c = (Config){
      .n_layers = h->n_layers, .n_embd = h->n_embd, .n_ff = h->n_ff, .n_heads = h->n_heads,
      .n_kv_heads = h->n_kv_heads, .head_dim = h->head_dim, .n_vocab = h->n_vocab,
      .rope_dim = h->rope_dim, .rope_halves = h->rope_halves, .sliding_window = h->sliding_window,
      .sliding_pattern = h->sliding_pattern, .gelu = h->gelu, .norm_epsilon = h->norm_epsilon,
      .embedding_scale = h->embedding_scale, .attention_scale = h->attention_scale,
      .rope_scale = h->rope_scale, .rope_theta = h->rope_theta,
      .rope_theta_local = h->rope_theta_local, .q_dim = h->n_heads * h->head_dim,
      .kv_dim = h->n_kv_heads * h->head_dim,
  };
  return true;
}

/* The shape that a slot must have; rows 1 stands for a vector. */
static void shape_of(Slot slot, uint32_t *rows, uint32_t *cols) {
  const Config *c = &weights.config;
  *rows = 1;
  *cols = c->n_embd;
  switch (slot) {
    case TOKEN_EMBD:
    case OUTPUT: *rows = c->n_vocab; break;
    case ROPE_FREQS: *cols = c->rope_dim / 2; break;
    case ATTN_Q: *rows = c->q_dim; break;
    case ATTN_K:
    case ATTN_V: *rows = c->kv_dim; break;
    case ATTN_OUTPUT: *rows = c->n_embd; *cols = c->q_dim; break;
    case FFN_GATE:
    case FFN_UP: *rows = c->n_ff; break;
    case FFN_DOWN: *rows = c->n_embd; *cols = c->n_ff; break;
    case ATTN_Q_NORM:
    case ATTN_K_NORM: *cols = c->head_dim; break;
    case ATTN_Q_BIAS: *cols = c->q_dim; break;
    case ATTN_K_BIAS:
    case ATTN_V_BIAS: *cols = c->kv_dim; break;
    default: break;
  }
}

static bool is_matrix(Slot slot) {
  return slot == TOKEN_EMBD || slot == OUTPUT || (slot >= ATTN_Q && slot <= ATTN_OUTPUT) ||
         (slot >= FFN_GATE && slot <= FFN_DOWN);
}
static bool is_required(Slot slot) { return slot != OUTPUT && slot != ROPE_FREQS && slot < ATTN_Q_NORM; }

/* Addresses handed out from the heap's start; 64-bit so that too much is noticed. */
static uint64_t top;
void *place(uint64_t bytes) {
  uint64_t at = top;
  top += (bytes + 63) / 64 * 64;
  return at <= UINT32_MAX ? (void *)(uintptr_t)at : NULL;
}

static int32_t read_tensors(const Header *h) {
  const Entry *entries = (const Entry *)(h + 1);
  double end = 0.0;
  for (uint32_t i = 0; i < h->n_tensors; i++) {
    Entry e = entries[i];
    if (e.slot >= N_SLOTS || (e.slot < ATTN_NORM ? e.layer != 0 : e.layer >= h->n_layers))
      return ERROR_TENSOR;
    Tensor *t = e.slot < ATTN_NORM ? &weights.shared[e.slot] : &weights.layers[e.layer][e.slot - ATTN_NORM];
    uint32_t rows, cols;
    shape_of(e.slot, &rows, &cols);
    if (t->size || e.rows != rows || e.cols != cols || !type_is_known(e.type) ||
        e.cols % type_block(e.type) || (!is_matrix(e.slot) && e.type != TYPE_F32))
      return ERROR_TENSOR;
    if (!(e.offset >= end && e.offset < 0x1p52)) return ERROR_TENSOR;
    *t = (Tensor){.type = e.type, .rows = rows, .cols = cols, .tiled = is_matrix(e.slot),
                  .offset = (uint64_t)e.offset, .size = rows * row_bytes(e.type, cols)};
    t->data = place(t->tiled ? (rows + TILE - 1) / TILE * tile_bytes(e.type, cols)
                             : 4ull * round_up(cols, TILE));
    end = e.offset + (double)t->size;
    weights.in_file_order[i] = t;
  }
  weights.n_tensors = h->n_tensors;
  for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
    if (!is_required(slot)) continue;
    if (slot < ATTN_NORM) {
      if (!weights.shared[slot].size) return ERROR_MISSING;
    } else {
      for (uint32_t i = 0; i < h->n_layers; i++)
        if (!layer_tensor(i, slot)->size) return ERROR_MISSING;
    }
  }
  return OK;
}

static void place_quantized(Quantized *x, uint32_t cols) {
  uint64_t n = (uint64_t)state.batch * cols;
  x->cols = cols;
#ifdef __wasm_relaxed_simd__
  x->q = place(n);
  x->split = place(2 * n);
#else
  x->q = place(2 * n);
#endif
  x->scale = place(n / 32 * 4);
  x->sum16 = place(n / 16 * 2);
  x->sum32 = place(n / 32 * 2);
}

static float *place_rows(uint32_t width) { return place(4ull * state.batch * round_up(width, TILE)); }

static void place_scratch(void) {
  const Config *c = &weights.config;
  uint32_t widest = c->n_embd > c->q_dim ? c->n_embd : c->q_dim;
  widest = round_up(widest > c->n_ff ? widest : c->n_ff, 256);
  state.stacks = place((uint64_t)(state.n_threads - 1) * STACK_BYTES);
  for (uint32_t i = 0; i < state.n_sequences; i++)
    state.sequences[i].history = place(4ull * state.n_ctx);
  state.tokens = place(4ull * state.batch);
  state.token_sequences = place(4ull * state.batch);
  state.wanted = place(4ull * state.batch);
  state.pass = place(sizeof(BatchToken) * (uint64_t)state.batch);
  state.outputs = place(4ull * state.max_outputs);
  state.x = place_rows(c->n_embd);
  state.branch = place_rows(c->n_embd);
  state.q = place_rows(c->q_dim);
  state.k = place_rows(c->kv_dim);
  state.v = place_rows(c->kv_dim);
  state.gate = place_rows(c->n_ff);
  state.up = place_rows(c->n_ff);
  state.rope = place(8ull * state.batch * c->rope_dim);
  state.inverse_frequency = place(4ull * c->rope_dim);
  state.scores_stride = round_up(state.n_ctx, 4);
  state.scores = place(4ull * state.n_threads * HEADS_PER_TASK * state.scores_stride);
  state.input.stride = widest;
  state.input.f32 = place_rows(widest);
  place_quantized(&state.input.block32, widest);
  place_quantized(&state.input.block256, widest);
  state.logits = place(4ull * state.max_outputs * round_up(c->n_vocab, TILE));
  state.candidates = place(8ull * c->n_vocab);
  uint64_t largest = 0;
  for (uint32_t i = 0; i < weights.n_tensors; i++) {
    const Tensor *t = weights.in_file_order[i];
    uint64_t bytes = TILE * row_bytes(t->type, t->cols);
    largest = bytes > largest ? bytes : largest;
  }
  state.carry = place(largest);
}

/* Read the descriptor in the staging buffer and lay out the memory for `n_sequences` of `n_ctx`
 * positions each and `n_threads` threads. Touches no memory beyond the module's own data. `flags`
 * must be 0. */
EXPORT(mlr_open)
int32_t mlr_open(uint32_t bytes, uint32_t n_ctx, uint32_t n_threads, uint32_t n_sequences,
                 uint32_t flags) {
  const Header *h = (const Header *)staging;
  if (state.total_bytes) return ERROR_STATE;
  if (bytes < sizeof(Header) || bytes > STAGING_BYTES || !read_config(h)) return ERROR_DESCRIPTOR;
  if (h->n_tensors > (STAGING_BYTES - sizeof(Header)) / sizeof(Entry) ||
      bytes != sizeof(Header) + h->n_tensors * sizeof(Entry) ||
      h->n_tensors > sizeof weights.in_file_order / sizeof *weights.in_file_order)
    return ERROR_DESCRIPTOR;
  if (!within(n_ctx, 1, 1 << 24) || !within(n_threads, 1, MAX_THREADS) ||
      !within(n_sequences, 1, MAX_SEQUENCES) || flags)
    return ERROR_ARGUMENT;
  uint64_t start = top = ((uint64_t)(uintptr_t)&__heap_base + 63) / 64 * 64;
  int32_t error = read_tensors(h);
  if (error) return error;
  state.weight_bytes = top - start;
  state.n_ctx = n_ctx;
  state.n_threads = n_threads;
  state.n_sequences = n_sequences;
  state.batch = BATCH;
  state.max_outputs = min_u32(n_sequences > MAX_OUTPUTS ? n_sequences : MAX_OUTPUTS, state.batch);
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
    if (part == missing)
      repack_tile(t->type, t->cols, (uint32_t)(whole / row), done ? state.carry : bytes, to);
    bytes += part;
    n -= part;
    t->fed += part;
  }
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
    take(t, staging + (at - (uint64_t)offset), stop - at);
    at = stop;
    if (t->fed == t->size) weights.n_feeding++;
  }
  return OK;
}

/* After the last byte: the model can be evaluated. */
EXPORT(mlr_ready) int32_t mlr_ready(void) {
  if (!state.total_bytes || state.ready) return ERROR_STATE;
  if (weights.n_feeding != weights.n_tensors) return ERROR_INCOMPLETE;
  rope_frequencies();
  state.ready = true;
  return OK;
}
