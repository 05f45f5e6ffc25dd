/* From the last hidden states to embeddings: one of each text, or of each wanted token of a decoder.
 * They are left in the rows of `state.branch`.
 */
#include "numeric.h"

/* The embedding, float[n_embd], of the `row`-th text or wanted token of the last pass; where the
 * model ranks, its first number is the score. */
EXPORT(mlr_embedding) double mlr_embedding(uint32_t row) {
  if (row >= state.n_embeddings) return ERROR_ARGUMENT;
  return address_of(nth_row(state.branch, row, weights.config.n_embd));
}

/* out = the mean of tokens first … last, each column summed in their order */
static void mean(uint32_t first, uint32_t last, float *out) {
  uint32_t n_embd = weights.config.n_embd;
  __builtin_memset(out, 0, 4ull * n_embd);
  for (uint32_t t = first; t <= last; t++) add_into(out, nth_row(state.x, t, n_embd), n_embd);
  scale_row(out, 1.0f / (float)(last - first + 1), n_embd);
}

/* x / |x|; zero stays zero */
static void normalize(float *x, uint32_t n) {
  double sum = 0.0;
  for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
  if (sum > 0.0) scale_row(x, (float)(1.0 / __builtin_sqrt(sum)), n);
}

/* Pool the tokens of embedding `row` into `out`. */
static void pool_row(uint32_t row, float *out) {
  const Config *c = &weights.config;
  uint32_t first = c->causal ? state.outputs[row] : state.texts[row].first;
  uint32_t last = c->causal ? first : first + state.texts[row].count - 1;
  if (c->pooling == POOLING_MEAN) {
    mean(first, last, out);
  } else {
    uint32_t token = c->pooling == POOLING_LAST ? last : first;
    __builtin_memcpy(out, nth_row(state.x, token, c->n_embd), 4ull * c->n_embd);
  }
  if (c->normalize_embeddings && c->pooling != POOLING_RANK) normalize(out, c->n_embd);
}

/* The score: a linear layer with tanh where the model has it, and a dot product. */
static void score(float *x) {
  const Config *c = &weights.config;
  const Tensor *shared = weights.shared;
  if (shared[CLS].data) {
    if (shared[CLS_BIAS].data) add_into(x, (const float *)shared[CLS_BIAS].data, c->n_embd);
    cap_row(x, 1.0f, c->n_embd);
  }
  const float *weight = (const float *)shared[CLS_OUTPUT].data;
  const float *bias = (const float *)shared[CLS_OUTPUT_BIAS].data;
  double sum = bias ? (double)bias[0] : 0.0;
  for (uint32_t i = 0; i < c->n_embd; i++) sum += (double)x[i] * (double)weight[i];
  x[0] = (float)sum;
}

static bool rank(uint32_t n_embeddings) {
  const Config *c = &weights.config;
  const Tensor *cls = &weights.shared[CLS];
  uint32_t stride = round_up(c->n_embd, TILE);
  for (uint32_t row; (row = next_task(n_embeddings)) < n_embeddings;) {
    pool_row(row, cls->data ? state.input.f32 + (uint64_t)row * state.input.stride
                            : nth_row(state.branch, row, c->n_embd));
    if (cls->data) quantize_for(&cls, 1, row, c->n_embd);
  }
  if (!barrier()) return false;
  const Product product = {cls, state.branch, stride};
  if (cls->data && !multiply(&product, 1, n_embeddings)) return false;
  for (uint32_t row; (row = next_task(n_embeddings)) < n_embeddings;)
    score(nth_row(state.branch, row, c->n_embd));
  return barrier();
}

bool pool(uint32_t n, uint32_t n_embeddings) {
  const Config *c = &weights.config;
  for (uint32_t t; (t = next_task(n)) < n;) {
    float *x = nth_row(state.x, t, c->n_embd);
    add_feed_forward(c->n_layers - 1, t);
    norm_row(x, &weights.shared[OUTPUT_NORM], c->n_embd, x);
  }
  if (!barrier()) return false;
  if (c->pooling == POOLING_RANK) return rank(n_embeddings);
  for (uint32_t row; (row = next_task(n_embeddings)) < n_embeddings;)
    pool_row(row, nth_row(state.branch, row, c->n_embd));
  return barrier();
}
