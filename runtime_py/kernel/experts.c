/* A mixture of experts: each token goes through the few that its router prefers.
 *
 * The tokens of a pass are grouped by expert, so that an expert's weights are read once for all of
 * them. A pair is a token and one of its experts; pairs are rows, sorted by expert. Which other
 * tokens are in the pass shows in no result: each row is computed by itself, and a token's experts
 * are added up in the order of its own preference.
 */
#include "numeric.h"

static struct {
  float *router;        /* (batch, n_experts) logits, then probabilities */
  uint32_t *chosen;     /* (batch, n_experts_used) experts, the most probable first */
  float *share;         /* (batch, n_experts_used) of the sum */
  float *shared_share;  /* (batch) of the expert that all tokens use */
  uint32_t *row;        /* (batch, n_experts_used) of the pair */
  uint32_t *token;      /* (pairs) */
  uint32_t *active;     /* (n_experts) experts with pairs */
  uint32_t *first;      /* (n_experts + 1) row of each active expert's first pair; the last: end */
  uint32_t n_active;
  Activations input;    /* (pairs) n_embd, then n_ff_expert wide */
  float *gate, *up;     /* (pairs, n_ff_expert) */
  float *out;           /* (pairs, n_embd) */
} experts;

void place_experts(void) {
  const Config *c = &weights.config;
  uint64_t batch = state.batch, pairs = batch * c->n_experts_used;
  experts.router = place(4 * batch * round_up(c->n_experts, TILE));
  experts.chosen = place(4 * pairs);
  experts.share = place(4 * pairs);
  experts.shared_share = place(4 * batch);
  experts.row = place(4 * pairs);
  experts.token = place(4 * pairs);
  experts.active = place(4ull * c->n_experts);
  experts.first = place(4ull * (c->n_experts + 1));
  place_activations(&experts.input, pairs,
                    widths_of_matrices(c->n_embd > c->n_ff_expert ? c->n_embd : c->n_ff_expert));
  experts.gate = place(4 * pairs * c->n_ff_expert);
  experts.up = place(4 * pairs * c->n_ff_expert);
  experts.out = place(4 * pairs * c->n_embd);
}

static void softmax(float *x, uint32_t n) {
  float largest = x[0], sum = 0.0f;
  for (uint32_t i = 1; i < n; i++) largest = x[i] > largest ? x[i] : largest;
  for (uint32_t i = 0; i < n; i++) sum += x[i] = exp_f32(x[i] - largest);
  for (uint32_t i = 0; i < n; i++) x[i] /= sum;
}

/* The experts of one token and their shares; of equally probable ones the first. */
static void choose(uint32_t token) {
  const Config *c = &weights.config;
  float *probability = nth_row(experts.router, token, c->n_experts), sum = 0.0f;
  uint32_t *chosen = experts.chosen + (uint64_t)token * c->n_experts_used;
  float *share = experts.share + (uint64_t)token * c->n_experts_used;
  softmax(probability, c->n_experts);
  for (uint32_t i = 0; i < c->n_experts_used; i++) {
    uint32_t best = 0;
    while (probability[best] < 0.0f) best++; /* taken already */
    for (uint32_t e = best + 1; e < c->n_experts; e++)
      if (probability[e] > probability[best]) best = e;
    chosen[i] = best;
    share[i] = probability[best];
    sum += share[i];
    probability[best] = -1.0f;
  }
  float factor = (float)c->expert_weights_scale;
  for (uint32_t i = 0; i < c->n_experts_used; i++)
    share[i] = (c->expert_weights_norm ? share[i] / sum : share[i]) * factor;
}

static void weigh_shared(uint32_t layer, uint32_t token) {
  const float *weight = (const float *)layer_tensor(layer, FFN_GATE_INP_SHEXP)->data;
  const float *x = state.input.f32 + (uint64_t)token * state.input.stride;
  v128_t sum = wasm_f32x4_const_splat(0.0f);
  if (weight)
    for (uint32_t i = 0; i < weights.config.n_embd; i += 4)
      sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_v128_load(x + i), wasm_v128_load(weight + i)));
  experts.shared_share[token] = weight ? 1.0f / (1.0f + exp_f32(-sum_f32x4(sum))) : 1.0f;
}

/* Sort the pairs by expert. By one thread. */
static void group(uint32_t n) {
  const Config *c = &weights.config;
  uint32_t pairs = n * c->n_experts_used, end = 0;
  experts.n_active = 0;
  for (uint32_t e = 0; e < c->n_experts; e++) {
    uint32_t first = end;
    for (uint32_t i = 0; i < pairs; i++)
      if (experts.chosen[i] == e) {
        experts.token[end] = i / c->n_experts_used;
        experts.row[i] = end++;
      }
    if (end == first) continue;
    experts.active[experts.n_active] = e;
    experts.first[experts.n_active++] = first;
  }
  experts.first[experts.n_active] = end;
}

static Quantized quantized_from(const Quantized *x, uint64_t row) {
  Quantized part = *x;
  part.q += row * x->cols;
#ifdef __wasm_relaxed_simd__
  if (part.split) part.split += row * x->cols * 2;
#endif
  part.scale += row * x->cols / 32;
  part.sum16 += row * x->cols / 16;
  part.sum32 += row * x->cols / 32;
#ifdef MLR_NARROW
  part.splat += row * x->cols * 4;
  part.minus16 += row * x->cols / 8;
  part.minus32 += row * x->cols / 16;
#endif
  return part;
}

static Activations rows_from(const Activations *a, uint64_t row) {
  return (Activations){.f32 = a->f32 + row * a->stride, .stride = a->stride,
                       .block32 = quantized_from(&a->block32, row),
                       .block256 = quantized_from(&a->block256, row)};
}

/* out = the rows' own expert of `tensor` * input, for each of up to two tensors of `rows` rows an
 * expert. A task is a part of one expert's tiles of one tensor. */
static bool multiply_experts(const Tensor *const *tensors, float *const *outs, uint32_t n_tensors,
                             uint32_t rows) {
  uint32_t tiles = rows / TILE, groups = experts.n_active * n_tensors;
  uint32_t parts = state.n_threads * 8 / groups + 1, step = round_up((tiles + parts - 1) / parts, 2);
  parts = (tiles + step - 1) / step;
  for (uint32_t task; (task = next_task(groups * parts)) < groups * parts;) {
    uint32_t a = task / parts / n_tensors, i = task / parts % n_tensors, start = task % parts * step;
    uint32_t first = experts.first[a], count = experts.first[a + 1] - first;
    Tensor expert = *tensors[i];
    expert.data += (uint64_t)experts.active[a] * tiles * tile_bytes(expert.type, expert.cols);
    expert.rows = rows;
    Activations input = rows_from(&experts.input, first);
    matmul_tiles(&expert, start, min_u32(start + step, tiles), &input, count,
                 outs[i] + (uint64_t)first * rows, rows);
  }
  return barrier();
}

static void quantize_pair(uint32_t row, uint32_t cols, const Tensor *const *users, uint32_t n_users) {
  bool block32 = false, block256 = false;
  for (uint32_t i = 0; i < n_users; i++) {
    block32 |= uses_block32(users[i]->type);
    block256 |= uses_block256(users[i]->type);
  }
  const float *x = experts.input.f32 + (uint64_t)row * experts.input.stride;
  quantize_row(&experts.input, x, row, 0, cols, block32, block256);
}

/* Router, and the first two matrices of the expert that all tokens use. */
static bool route(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  uint32_t stride = round_up(c->n_ff_shared, TILE);
  const Product products[] = {
      {layer_tensor(layer, FFN_GATE_INP), experts.router, round_up(c->n_experts, TILE)},
      {layer_tensor(layer, FFN_GATE_SHEXP), state.gate, stride},
      {layer_tensor(layer, FFN_UP_SHEXP), state.up, stride}};
  if (!multiply(products, c->n_ff_shared ? 3 : 1, n)) return false;
  for (uint32_t t; (t = next_task(n)) < n;) {
    choose(t);
    weigh_shared(layer, t);
  }
  if (!barrier()) return false;
  if (next_task(1) == 0) group(n);
  return barrier();
}

static bool run_shared(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  const Tensor *down = layer_tensor(layer, FFN_DOWN_SHEXP);
  for (uint32_t t; (t = next_task(n)) < n;) {
    activate(nth_row(state.gate, t, c->n_ff_shared), nth_row(state.up, t, c->n_ff_shared), c->n_ff_shared,
             state.input.f32 + (uint64_t)t * state.input.stride);
    quantize_for(&down, 1, t, c->n_ff_shared);
  }
  if (!barrier()) return false;
  const Product product = {down, state.branch, round_up(c->n_embd, TILE)};
  return multiply(&product, 1, n);
}

/* From the rows of `state.input`, normed, to what `mix_experts` adds up. */
bool run_experts(uint32_t layer, uint32_t n) {
  const Config *c = &weights.config;
  const Tensor *gate_up[] = {layer_tensor(layer, FFN_GATE_EXPS), layer_tensor(layer, FFN_UP_EXPS)};
  const Tensor *down = layer_tensor(layer, FFN_DOWN_EXPS);
  float *const outs[] = {experts.gate, experts.up};
  uint32_t pairs = n * c->n_experts_used, width = c->n_ff_expert;
  if (!route(layer, n)) return false;
  for (uint32_t p; (p = next_task(pairs)) < pairs;) {
    __builtin_memcpy(experts.input.f32 + (uint64_t)p * experts.input.stride,
                     state.input.f32 + (uint64_t)experts.token[p] * state.input.stride, 4ull * c->n_embd);
    quantize_pair(p, c->n_embd, gate_up, 2);
  }
  if (!barrier() || !multiply_experts(gate_up, outs, 2, width)) return false;
  for (uint32_t p; (p = next_task(pairs)) < pairs;) {
    activate(nth_row(experts.gate, p, width), nth_row(experts.up, p, width), width,
             experts.input.f32 + (uint64_t)p * experts.input.stride);
    quantize_pair(p, width, &down, 1);
  }
  if (!barrier() || !multiply_experts(&down, &experts.out, 1, c->n_embd)) return false;
  return !c->n_ff_shared || run_shared(layer, n);
}

/* branch = what a token's experts add, each by its share. */
void mix_experts(uint32_t token) {
  const Config *c = &weights.config;
  float *branch = nth_row(state.branch, token, c->n_embd);
  if (c->n_ff_shared)
    scale_row(branch, experts.shared_share[token], c->n_embd);
  else
    __builtin_memset(branch, 0, 4ull * c->n_embd);
  for (uint32_t i = 0; i < c->n_experts_used; i++) {
    uint64_t pair = (uint64_t)token * c->n_experts_used + i;
    const float *out = nth_row(experts.out, experts.row[pair], c->n_embd);
    v128_t share = wasm_f32x4_splat(experts.share[pair]);
    for (uint32_t d = 0; d < c->n_embd; d += 4)
      wasm_v128_store(branch + d, wasm_f32x4_add(wasm_v128_load(branch + d),
                                                 wasm_f32x4_mul(wasm_v128_load(out + d), share)));
  }
}
