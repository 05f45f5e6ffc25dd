/* The forward pass of a decoder of the Llama and Gemma families, on all threads together.
 *
 * A pass is a row of phases. Within a phase the threads take tasks from a counter: tokens for the
 * light steps, tiles of rows for the matrix products, heads for attention. A barrier ends it.
 */
#include "kernel.h"

typedef struct {
  const Tensor *tensor;
  float *out;
  uint32_t stride;
} Product;

static inline uint32_t tiles_of(const Tensor *t) { return (t->rows + TILE - 1) / TILE; }

/* Several tiles a task: few enough tasks to keep the counter cool, enough to even out threads. An
 * even number, since gemm.c takes them in pairs. */
static uint32_t tiles_per_task(uint32_t tiles) {
  uint32_t share = tiles / (state.n_threads * 8) & ~1u;
  return share < 2 ? 2 : share > 64 ? 64 : share;
}

/* out = tensor * input for each product, one phase for all of them. */
static bool multiply(const Product *products, uint32_t n_products, uint32_t n_tokens) {
  uint32_t tiles = 0;
  for (uint32_t i = 0; i < n_products; i++) tiles += tiles_of(products[i].tensor);
  uint32_t step = tiles_per_task(tiles), tasks = (tiles + step - 1) / step;
  for (uint32_t task; (task = next_task(tasks)) < tasks;) {
    uint32_t start = task * step, end = min_u32(start + step, tiles), first = 0;
    for (const Product *p = products; first < end; first += tiles_of(p++->tensor)) {
      uint32_t from = start > first ? start - first : 0, to = min_u32(end - first, tiles_of(p->tensor));
      if (from < to) matmul_tiles(p->tensor, from, to, &state.input, n_tokens, p->out, p->stride);
    }
  }
  return barrier();
}

static void quantize_for(const Tensor *const *users, uint32_t n_users, uint32_t row, uint32_t cols) {
  bool block32 = false, block256 = false;
  for (uint32_t i = 0; i < n_users; i++) {
    block32 |= uses_block32(users[i]->type);
    block256 |= uses_block256(users[i]->type);
  }
  quantize_row(&state.input, row, cols, block32, block256);
}

/* x += post_norm(branch) for one token; the norm is optional. */
static void add_branch(uint32_t token, const Tensor *post_norm) {
  const Config *c = &weights.config;
  float *branch = state.branch + (uint64_t)token * round_up(c->n_embd, TILE);
  if (post_norm->data)
    rms_norm(branch, (const float *)post_norm->data, c->n_embd, (float)c->norm_epsilon, branch);
  add_into(state.x + (uint64_t)token * round_up(c->n_embd, TILE), branch, c->n_embd);
}

/* input = norm(x) for one token, in the forms that `users` multiply. */
static void norm_input(uint32_t token, uint32_t row, const Tensor *norm, const Tensor *const *users,
                       uint32_t n_users) {
  const Config *c = &weights.config;
  rms_norm(state.x + (uint64_t)token * round_up(c->n_embd, TILE), (const float *)norm->data, c->n_embd,
           (float)c->norm_epsilon, state.input.f32 + (uint64_t)row * state.input.stride);
  quantize_for(users, n_users, row, c->n_embd);
}

/* Biases, norms and rotation of the queries and keys of one token; keys and values into the cache. */
static void finish_qkv(uint32_t layer, uint32_t token) {
  const Config *c = &weights.config;
  float *q = state.q + (uint64_t)token * round_up(c->q_dim, TILE);
  float *k = state.k + (uint64_t)token * round_up(c->kv_dim, TILE);
  float *v = state.v + (uint64_t)token * round_up(c->kv_dim, TILE);
  const Tensor *q_bias = layer_tensor(layer, ATTN_Q_BIAS), *k_bias = layer_tensor(layer, ATTN_K_BIAS);
  const Tensor *v_bias = layer_tensor(layer, ATTN_V_BIAS);
  const Tensor *q_norm = layer_tensor(layer, ATTN_Q_NORM), *k_norm = layer_tensor(layer, ATTN_K_NORM);
  if (q_bias->data) add_into(q, (const float *)q_bias->data, c->q_dim);
  if (k_bias->data) add_into(k, (const float *)k_bias->data, c->kv_dim);
  if (v_bias->data) add_into(v, (const float *)v_bias->data, c->kv_dim);
  uint32_t local = layer_slides(c, layer) ? state.batch : 0;
  const float *angles = state.rope + (uint64_t)c->rope_dim * (local + token);
  for (uint32_t h = 0; h < c->n_heads + c->n_kv_heads; h++) {
    bool query = h < c->n_heads;
    float *head = query ? q + h * c->head_dim : k + (h - c->n_heads) * c->head_dim;
    const Tensor *norm = query ? q_norm : k_norm;
    if (norm->data) rms_norm(head, (const float *)norm->data, c->head_dim, (float)c->norm_epsilon, head);
    rotate(head, angles, c->rope_dim, c->rope_style == ROPE_HALF);
  }
  store_cells(layer, token, k, v);
}

static bool attention_block(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  const Tensor *wq = layer_tensor(layer, ATTN_Q), *wk = layer_tensor(layer, ATTN_K);
  const Tensor *wv = layer_tensor(layer, ATTN_V);
  const Tensor *qkv[] = {wq, wk, wv};
  for (uint32_t t; (t = next_task(n)) < n;) {
    if (layer > 0) add_branch(t, layer_tensor(layer - 1, POST_FFN_NORM));
    norm_input(t, t, layer_tensor(layer, ATTN_NORM), qkv, 3);
  }
  if (!barrier()) return false;
  const Product products[] = {{wq, state.q, round_up(c->q_dim, TILE)},
                              {wk, state.k, round_up(c->kv_dim, TILE)},
                              {wv, state.v, round_up(c->kv_dim, TILE)}};
  if (!multiply(products, 3, n)) return false;
  for (uint32_t t; (t = next_task(n)) < n;) finish_qkv(layer, t);
  return barrier();
}

static bool attend_and_project(uint32_t layer, uint32_t n, uint32_t thread) {
  const Config *c = &weights.config;
  const Tensor *wo = layer_tensor(layer, ATTN_OUTPUT);
  uint32_t tasks = attention_tasks();
  for (uint32_t task; (task = next_task(tasks)) < tasks;) attention_task(layer, task, thread);
  if (!barrier()) return false;
  for (uint32_t t; (t = next_task(n)) < n;) quantize_for(&wo, 1, t, c->q_dim);
  if (!barrier()) return false;
  const Product product = {wo, state.branch, round_up(c->n_embd, TILE)};
  return multiply(&product, 1, n);
}

static bool feed_forward_block(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  const Tensor *gate = layer_tensor(layer, FFN_GATE), *up = layer_tensor(layer, FFN_UP);
  const Tensor *down = layer_tensor(layer, FFN_DOWN), *gate_up[] = {gate, up};
  for (uint32_t t; (t = next_task(n)) < n;) {
    add_branch(t, layer_tensor(layer, POST_ATTN_NORM));
    norm_input(t, t, layer_tensor(layer, FFN_NORM), gate_up, 2);
  }
  if (!barrier()) return false;
  uint32_t stride = round_up(c->n_ff, TILE);
  const Product products[] = {{gate, state.gate, stride}, {up, state.up, stride}};
  if (!multiply(products, 2, n)) return false;
  for (uint32_t t; (t = next_task(n)) < n;) {
    gated(state.gate + (uint64_t)t * stride, state.up + (uint64_t)t * stride, c->n_ff, c->activation == GELU,
          state.input.f32 + (uint64_t)t * state.input.stride);
    quantize_for(&down, 1, t, c->n_ff);
  }
  if (!barrier()) return false;
  const Product product = {down, state.branch, round_up(c->n_embd, TILE)};
  return multiply(&product, 1, n);
}

static void embed(uint32_t token) {
  const Config *c = &weights.config;
  float *x = state.x + (uint64_t)token * round_up(c->n_embd, TILE);
  dequantize_row(&weights.shared[TOKEN_EMBD], (uint32_t)state.pass[token].id, x);
  for (uint32_t i = 0; i < c->n_embd; i++) x[i] *= (float)c->embedding_scale;
}

/* Logits of the wanted tokens. */
static bool output_head(uint32_t n_outputs) {
  const Config *c = &weights.config;
  const Tensor *head = weights.shared[OUTPUT].data ? &weights.shared[OUTPUT] : &weights.shared[TOKEN_EMBD];
  for (uint32_t row; (row = next_task(n_outputs)) < n_outputs;) {
    uint32_t token = state.outputs[row];
    add_branch(token, layer_tensor(c->n_layers - 1, POST_FFN_NORM));
    norm_input(token, row, &weights.shared[OUTPUT_NORM], &head, 1);
  }
  if (!barrier()) return false;
  const Product product = {head, state.logits, round_up(c->n_vocab, TILE)};
  return multiply(&product, 1, n_outputs);
}

void forward(uint32_t thread) {
  /* Read before the first barrier: after the last one thread 0 may already prepare the next pass. */
  uint32_t n = state.n_tokens, n_outputs = state.n_outputs;
  if (!barrier()) return;
  for (uint32_t t; (t = next_task(n)) < n;) embed(t);
  if (thread == state.n_threads - 1) rope_table(n);
  if (!barrier()) return;
  for (uint32_t layer = 0; layer < weights.config.n_layers; layer++)
    if (!attention_block(layer, n) || !attend_and_project(layer, n, thread) ||
        !feed_forward_block(layer, n))
      return;
  if (n_outputs) output_head(n_outputs);
}
