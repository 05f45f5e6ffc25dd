/* The forward pass of a transformer, on all threads together.
 *
 * What an architecture has or has not is data: the configuration, and which tensors are there. A
 * norm that is absent changes nothing, and open.c has taken fused matrices apart.
 *
 * A pass is a row of phases. Within a phase the threads divide tasks: tokens for the light steps,
 * tiles of rows for the matrix products, heads for attention. A barrier ends it.
 */
#include "kernel.h"

static inline uint32_t tiles_of(const Tensor *t) { return (t->rows + TILE - 1) / TILE; }

/* Several tiles a task: few enough tasks that taking one costs nothing, enough to even out threads.
 * An even number, since gemm.c takes them in pairs. */
static uint32_t tiles_per_task(uint32_t tiles) {
  uint32_t share = tiles / (state.n_threads * 8) & ~1u;
  return share < 2 ? 2 : share > 64 ? 64 : share;
}

/* out = tensor * input for each product, one phase for all of them. */
bool multiply(const Product *products, uint32_t n_products, uint32_t n_tokens) {
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

static void quantize_part(const Tensor *const *users, uint32_t n_users, const float *x, uint32_t row,
                          uint32_t first, uint32_t cols) {
  bool block32 = false, block256 = false;
  for (uint32_t i = 0; i < n_users; i++) {
    block32 |= uses_block32(users[i]->type);
    block256 |= uses_block256(users[i]->type);
  }
  quantize_row(&state.input, x, row, first, cols, block32, block256);
}

void quantize_for(const Tensor *const *users, uint32_t n_users, uint32_t row, uint32_t cols) {
  quantize_part(users, n_users, state.input.f32 + (uint64_t)row * state.input.stride, row, 0, cols);
}

static inline float *residual(uint32_t token) { return nth_row(state.x, token, weights.config.n_embd); }

/* x takes in what a block has computed with `linear` as its last matrix: x += norm(branch), or
 * x = norm(x + branch). At most one of the norms is there. */
static void add_branch(uint32_t token, const Tensor *linear, const Tensor *branch_norm, const Tensor *sum_norm) {
  const Config *c = &weights.config;
  float *branch = nth_row(state.branch, token, c->n_embd), *x = residual(token);
  finish_linear(linear, branch, 0, c->n_embd);
  norm_row(branch, branch_norm, c->n_embd, branch);
  if (c->residual_scale != 1.0) scale_row(branch, (float)c->residual_scale, c->n_embd);
  add_into(x, branch, c->n_embd);
  norm_row(x, sum_norm, c->n_embd, x);
}

static void add_attention(uint32_t layer, uint32_t token) {
  add_branch(token, layer_tensor(layer, ATTN_OUTPUT), layer_tensor(layer, POST_ATTN_NORM),
             layer_tensor(layer, ATTN_OUTPUT_NORM));
}

void add_feed_forward(uint32_t layer, uint32_t token) {
  if (weights.config.n_experts) mix_experts(token);
  add_branch(token, layer_tensor(layer, FFN_DOWN), layer_tensor(layer, POST_FFN_NORM),
             layer_tensor(layer, LAYER_OUTPUT_NORM));
}

/* input = norm(x) for one token, in the forms that `users` multiply. */
void norm_input(uint32_t token, uint32_t row, const Tensor *norm, const Tensor *const *users,
                uint32_t n_users) {
  uint32_t n_embd = weights.config.n_embd;
  norm_row(residual(token), norm, n_embd, state.input.f32 + (uint64_t)row * state.input.stride);
  quantize_for(users, n_users, row, n_embd);
}

/* Norm and rotation of the `n_heads` queries or keys of one token. */
static void finish_heads(float *heads, uint32_t n_heads, const Tensor *norm, const float *angles) {
  const Config *c = &weights.config;
  if (c->qk_norm == QK_NORM_FULL) norm_row(heads, norm, n_heads * c->head_dim, heads);
  for (uint32_t h = 0; h < n_heads; h++, heads += c->head_dim) {
    if (c->qk_norm == QK_NORM_HEAD) norm_row(heads, norm, c->head_dim, heads);
    if (angles) rotate(heads, angles, c->rope_dim, c->rope_style == ROPE_HALF);
  }
}

/* Keys and values of one token made complete and rounded, into the cache; queries likewise. */
static void finish_qkv(uint32_t layer, uint32_t token, bool with_queries) {
  const Config *c = &weights.config;
  float *k = nth_row(state.k, token, c->kv_dim), *v = nth_row(state.v, token, c->kv_dim);
  finish_linear(layer_tensor(layer, ATTN_K), k, 0, c->kv_dim);
  finish_linear(layer_tensor(layer, ATTN_V), v, 0, c->kv_dim);
  const float *angles = layer_rotates(c, layer) ? rope_angles(token, layer_slides(c, layer)) : NULL;
  finish_heads(k, c->n_kv_heads, layer_tensor(layer, ATTN_K_NORM), angles);
  store_cells(layer, token, k, v);
  if (!with_queries) return;
  float *q = nth_row(state.q, token, c->q_dim);
  finish_linear(layer_tensor(layer, ATTN_Q), q, 0, c->q_dim);
  finish_heads(q, c->n_heads, layer_tensor(layer, ATTN_Q_NORM), angles);
  store_queries(token, q);
}

/* x = the token's embedding and what is added to it, and its angles. `branch` is free still. */
static void embed(uint32_t token) {
  const Config *c = &weights.config;
  const Tensor *shared = weights.shared;
  float *x = residual(token), *other = nth_row(state.branch, token, c->n_embd);
  dequantize_row(&shared[TOKEN_EMBD], (uint32_t)state.pass[token].id, x);
  scale_row(x, (float)c->embedding_scale, c->n_embd);
  if (c->token_types) {
    dequantize_row(&shared[TOKEN_TYPES], state.pass[token].type, other);
    add_into(x, other, c->n_embd);
  }
  if (c->positions == POSITIONS_LEARNED) {
    dequantize_row(&shared[POSITION_EMBD], state.pass[token].position, other);
    add_into(x, other, c->n_embd);
  }
  norm_row(x, &shared[TOKEN_EMBD_NORM], c->n_embd, x);
  rope_table(token);
}

/* Keys and values of all tokens, and queries unless nothing will attend. */
static bool project(uint32_t layer, uint32_t n, bool with_queries) {
  const Config *c = &weights.config;
  const Tensor *wq = layer_tensor(layer, ATTN_Q), *wk = layer_tensor(layer, ATTN_K);
  const Tensor *wv = layer_tensor(layer, ATTN_V);
  const Tensor *kvq[] = {wk, wv, wq}, *norm = layer_tensor(layer, ATTN_NORM_2);
  uint32_t n_products = with_queries ? 3 : 2;
  if (!norm->data) norm = layer_tensor(layer, ATTN_NORM);
  for (uint32_t t; (t = next_task(n)) < n;) {
    if (layer == 0)
      embed(t);
    else
      add_feed_forward(layer - 1, t);
    norm_input(t, t, norm, kvq, n_products);
  }
  if (!barrier()) return false;
  const Product products[] = {{wk, state.k, round_up(c->kv_dim, TILE)},
                              {wv, state.v, round_up(c->kv_dim, TILE)},
                              {wq, state.q, round_up(c->q_dim, TILE)}};
  if (!multiply(products, n_products, n)) return false;
  for (uint32_t t; (t = next_task(n)) < n;) finish_qkv(layer, t, with_queries);
  return barrier();
}

/* Makes the pass one of its wanted tokens alone, when all have their keys and values in the cache. */
static void keep_wanted(uint32_t n_wanted) {
  for (uint32_t row = 0; row < n_wanted; row++) {
    uint32_t token = state.outputs[row];
    state.outputs[row] = row;
    if (token == row) continue;
    state.pass[row] = state.pass[token];
    __builtin_memcpy(residual(row), residual(token), 4ull * weights.config.n_embd);
    move_queries(token, row);
  }
  state.n_tokens = n_wanted;
  plan_attention();
}

static bool attend(uint32_t layer, uint32_t n, uint32_t thread) {
  const Config *c = &weights.config;
  const Tensor *wo = layer_tensor(layer, ATTN_OUTPUT), *norm = layer_tensor(layer, ATTN_SUB_NORM);
  if (!attention(layer, thread)) return false;
  for (uint32_t t; (t = next_task(n)) < n;) {
    float *row = state.input.f32 + (uint64_t)t * state.input.stride;
    norm_row(row, norm, c->q_dim, row);
    quantize_for(&wo, 1, t, c->q_dim);
  }
  if (!barrier()) return false;
  const Product product = {wo, state.branch, round_up(c->n_embd, TILE)};
  return multiply(&product, 1, n);
}

/* The input of the feed-forward network. A parallel one reads x without what attention adds, and
 * where it has no norm of its own, through attention's. */
static void feed_forward_input(uint32_t layer, uint32_t token, const Tensor *const *users, uint32_t n_users) {
  const Tensor *norm = layer_tensor(layer, FFN_NORM);
  if (!weights.config.parallel_residual) add_attention(layer, token);
  if (weights.config.parallel_residual && !norm->data) norm = layer_tensor(layer, ATTN_NORM);
  norm_input(token, token, norm, users, n_users);
  if (weights.config.parallel_residual) add_attention(layer, token);
}

/* Where an activation goes that `user` multiplies: in the place of x if only to be quantized, since
 * rows of floats need not be as wide (widths_of_matrices). */
static float *hidden_row(const Tensor *user, uint32_t token, float *x) {
  if (uses_block32(user->type) || uses_block256(user->type)) return x;
  return state.input.f32 + (uint64_t)token * state.input.stride;
}

/* From gate and up to the input of the last product: columns `first` … `first + cols - 1`. */
static void activate_part(uint32_t layer, uint32_t token, uint32_t first, uint32_t cols) {
  const Config *c = &weights.config;
  const Tensor *down = layer_tensor(layer, FFN_DOWN);
  float *up = nth_row(state.up, token, c->n_ff), *gate = nth_row(state.gate, token, c->n_ff);
  float *x = c->gated ? gate : up, *out = hidden_row(down, token, x);
  finish_linear(layer_tensor(layer, FFN_UP), up, first, cols);
  if (c->gated) finish_linear(layer_tensor(layer, FFN_GATE), gate, first, cols);
  activate(x + first, c->gated ? up + first : NULL, cols, out + first);
  norm_row(out, layer_tensor(layer, FFN_SUB_NORM), cols, out);
  quantize_part(&down, 1, out, token, first, cols);
}

/* Columns of a task: whole rows, or parts where there are fewer tokens than threads. A norm looks at
 * whole rows; 8-bit activations have blocks of up to 256. */
static uint32_t columns_per_task(uint32_t layer, uint32_t n) {
  uint32_t n_ff = weights.config.n_ff, parts = (state.n_threads + n - 1) / n;
  if (layer_tensor(layer, FFN_SUB_NORM)->data) return n_ff;
  return min_u32(round_up((n_ff + parts - 1) / parts, 256), n_ff);
}

static bool feed_forward_block(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  const Tensor *gate = layer_tensor(layer, FFN_GATE), *up = layer_tensor(layer, FFN_UP);
  const Tensor *down = layer_tensor(layer, FFN_DOWN), *up_gate[] = {up, gate};
  uint32_t n_up = c->gated ? 2 : 1, stride = round_up(c->n_ff, TILE);
  for (uint32_t t; (t = next_task(n)) < n;) feed_forward_input(layer, t, up_gate, n_up);
  if (!barrier()) return false;
  const Product products[] = {{up, state.up, stride}, {gate, state.gate, stride}};
  if (!multiply(products, n_up, n)) return false;
  uint32_t cols = columns_per_task(layer, n), parts = (c->n_ff + cols - 1) / cols;
  for (uint32_t task; (task = next_task(n * parts)) < n * parts;) {
    uint32_t first = task % parts * cols;
    activate_part(layer, task / parts, first, min_u32(cols, c->n_ff - first));
  }
  if (!barrier()) return false;
  const Product product = {down, state.branch, round_up(c->n_embd, TILE)};
  return multiply(&product, 1, n);
}

static bool expert_block(uint32_t layer, uint32_t n) {
  const Tensor *users[] = {layer_tensor(layer, FFN_GATE_INP), layer_tensor(layer, FFN_GATE_SHEXP),
                           layer_tensor(layer, FFN_UP_SHEXP)};
  uint32_t n_users = weights.config.n_ff_shared ? 3 : 1;
  for (uint32_t t; (t = next_task(n)) < n;) feed_forward_input(layer, t, users, n_users);
  return barrier() && run_experts(layer, n);
}

/* Logits of the wanted tokens, or which of them are the largest. */
static bool output_head(uint32_t n_outputs, bool choosing, uint32_t thread) {
  for (uint32_t row; (row = next_task(n_outputs)) < n_outputs;) {
    uint32_t token = state.outputs[row];
    add_feed_forward(weights.config.n_layers - 1, token);
    head_input(&weights.shared[OUTPUT_NORM], token, row);
  }
  if (!barrier()) return false;
  return choosing ? largest_logits(n_outputs, thread) : whole_head(n_outputs);
}

void forward(uint32_t thread) {
  const Config *c = &weights.config;
  /* Read before the first barrier: after the last one thread 0 may already prepare the next pass.
   * Before it thread 0 may be at work already, which is as well: waking the others takes a while. */
  uint32_t n = state.n_tokens, n_outputs = state.n_outputs, n_embeddings = state.n_embeddings;
  uint32_t n_wanted = c->causal ? n_outputs + n_embeddings : n;
  bool choosing = state.choosing, head_only = state.head_only;
  if (head_only) {
    whole_head(n_outputs);
    return;
  }
  for (uint32_t layer = 0; layer < c->n_layers; layer++) {
    bool last = layer == c->n_layers - 1;
    if (!project(layer, n, !last || n_wanted)) return;
    if (last && n_wanted < n) {
      if (!n_wanted) return;
      if (next_task(1) == 0) keep_wanted(n_wanted);
      if (!barrier()) return;
      n = n_wanted;
    }
    if (!attend(layer, n, thread)) return;
    if (!(c->n_experts ? expert_block : feed_forward_block)(layer, n)) return;
  }
  if (n_outputs) output_head(n_outputs, choosing, thread);
  if (n_embeddings) pool(n, n_embeddings);
}
