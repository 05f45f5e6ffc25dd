/* Log probabilities: the log softmax of the logits as the model gives them, before masks, penalties
 * and temperature. Sums have one order, so every host and build gives the same bits. What is not a number
 * has no share. */
#include "numeric.h"

static float largest_of(const float *logits, uint32_t n) {
  float largest = -__builtin_inff();
  for (uint32_t i = 0; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
  return largest;
}

/* log(sum(exp(logits))) */
static double log_sum(const float *logits, uint32_t n) {
  float largest = largest_of(logits, n);
  v128_t shift = wasm_f32x4_splat(largest), low = wasm_f64x2_splat(0.0), high = low;
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    v128_t x = wasm_v128_load(logits + i);
    v128_t e = wasm_v128_and(exp_f32x4(wasm_f32x4_sub(x, shift)), wasm_f32x4_eq(x, x));
    low = wasm_f64x2_add(low, wasm_f64x2_promote_low_f32x4(e));
    high = wasm_f64x2_add(high, wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(e, e, 2, 3, 2, 3)));
  }
  v128_t both = wasm_f64x2_add(low, high);
  double sum = wasm_f64x2_extract_lane(both, 0) + wasm_f64x2_extract_lane(both, 1);
  for (; i < n; i++) sum += logits[i] == logits[i] ? (double)exp_f32(logits[i] - largest) : 0.0;
  return (double)largest + log_f64(sum);
}

/* Where mlr_top leaves what it finds, until its next call. */
EXPORT(mlr_alternatives) double mlr_alternatives(void) { return address_of(state.alternatives); }

/* The `k` likeliest tokens of a row, the lower id first of equals, as {u32 id, f32 log probability}
 * at mlr_alternatives(); returns how many. */
EXPORT(mlr_top) int32_t mlr_top(uint32_t row, uint32_t k) {
  if (row >= state.n_outputs || k < 1 || k > MAX_ALTERNATIVES) return ERROR_ARGUMENT;
  int32_t error = need_logits();
  if (error) return error;
  const float *logits = logits_row(row);
  uint32_t n = weights.config.n_vocab, kept = 0;
  Alternative *best = state.alternatives;
  k = min_u32(k, n);
  for (uint32_t i = 0; i < n; i++) {
    if (logits[i] != logits[i] || (kept == k && !(logits[i] > best[k - 1].value))) continue;
    uint32_t at = kept < k ? kept++ : k - 1;
    for (; at > 0 && logits[i] > best[at - 1].value; at--) best[at] = best[at - 1];
    best[at] = (Alternative){i, logits[i]};
  }
  double total = log_sum(logits, n);
  if (!(__builtin_fabs(total) < __builtin_inf())) return ERROR_NOT_FINITE;
  for (uint32_t i = 0; i < kept; i++) best[i].value = (float)((double)best[i].value - total);
  return (int32_t)kept;
}

/* The log probability of a token in a row; not a number where there is no such row or token. */
EXPORT(mlr_logprob) double mlr_logprob(uint32_t row, uint32_t id) {
  uint32_t n = weights.config.n_vocab;
  if (row >= state.n_outputs || id >= n || need_logits()) return __builtin_nan("");
  const float *logits = logits_row(row);
  return (double)(float)((double)logits[id] - log_sum(logits, n));
}
