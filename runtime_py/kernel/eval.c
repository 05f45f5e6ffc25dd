/* Evaluating tokens: what the host asks for becomes a pass, checked before anything changes. */
#include "kernel.h"

EXPORT(mlr_batch) uint32_t mlr_batch(void) { return state.batch; }
EXPORT(mlr_outputs) uint32_t mlr_outputs(void) { return state.max_outputs; }
EXPORT(mlr_tokens) double mlr_tokens(void) { return address_of(state.tokens); }
EXPORT(mlr_token_sequences) double mlr_token_sequences(void) { return address_of(state.token_sequences); }
EXPORT(mlr_wanted) double mlr_wanted(void) { return address_of(state.wanted); }

/* The logits, float[n_vocab], of the `row`-th wanted token of the last pass. */
EXPORT(mlr_logits) double mlr_logits(uint32_t row) {
  if (row >= state.n_outputs) return ERROR_ARGUMENT;
  return address_of(logits_row(row));
}

/* Append the first `n` tokens, each to its sequence, and compute the logits after the wanted ones.
 * Positions follow from the sequences: two tokens of one sequence come one after the other. */
EXPORT(mlr_eval) int32_t mlr_eval(uint32_t n) {
  if (!state.ready) return ERROR_STATE;
  if (n < 1 || n > state.batch) return ERROR_ARGUMENT;
  uint32_t next[MAX_SEQUENCES], n_outputs = 0;
  for (uint32_t i = 0; i < state.n_sequences; i++) next[i] = state.sequences[i].position;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t sequence = state.token_sequences[i];
    if ((uint32_t)state.tokens[i] >= weights.config.n_vocab) return ERROR_TOKEN;
    if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
    if (state.sequences[sequence].restored) return ERROR_STATE;
    if (next[sequence] >= state.n_ctx) return ERROR_CONTEXT;
    state.pass[i] = (BatchToken){state.tokens[i], sequence, next[sequence]++};
    if (!state.wanted[i]) continue;
    if (n_outputs == state.max_outputs) return ERROR_ARGUMENT;
    state.outputs[n_outputs++] = i;
  }
  for (uint32_t i = 0; i < n; i++) {
    const BatchToken *token = &state.pass[i];
    state.sequences[token->sequence].history[token->position] = token->id;
  }
  state.n_tokens = n;
  state.n_outputs = n_outputs;
  plan_attention();
  int32_t error = run_forward();
  if (error) return error;
  for (uint32_t i = 0; i < state.n_sequences; i++) advance(i, next[i]);
  return OK;
}
