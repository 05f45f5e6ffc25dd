/* Evaluating tokens: what the host asks for becomes a pass, checked before anything changes. */
#include "kernel.h"

EXPORT(mlr_batch) uint32_t mlr_batch(void) { return state.batch; }
EXPORT(mlr_outputs) uint32_t mlr_outputs(void) { return state.max_outputs; }
EXPORT(mlr_tokens) double mlr_tokens(void) { return address_of(state.tokens); }
EXPORT(mlr_token_sequences) double mlr_token_sequences(void) { return address_of(state.token_sequences); }
EXPORT(mlr_wanted) double mlr_wanted(void) { return address_of(state.wanted); }
/* Which row of `token_types` an encoder adds to each token: 0 unless the host writes something else. */
EXPORT(mlr_token_types) double mlr_token_types(void) { return address_of(state.token_types); }

/* The logits, float[n_vocab], of the `row`-th wanted token of the last pass. */
EXPORT(mlr_logits) double mlr_logits(uint32_t row) {
  if (row >= state.n_outputs) return ERROR_ARGUMENT;
  int32_t error = need_logits();
  return error ? error : address_of(logits_row(row));
}

/* The tokens of whole texts, one text after the other, numbered from 0 on. */
static int32_t take_texts(uint32_t n) {
  uint32_t n_types = weights.config.token_types;
  state.n_texts = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t text = state.token_sequences[i], type = n_types > 1 ? state.token_types[i] : 0;
    if ((uint32_t)state.tokens[i] >= weights.config.n_vocab) return ERROR_TOKEN;
    if (type && type >= n_types) return ERROR_ARGUMENT;
    if (text == state.n_texts)
      state.texts[state.n_texts++] = (Run){i, 0};
    else if (i == 0 || text != state.n_texts - 1)
      return ERROR_ARGUMENT;
    uint32_t position = state.texts[text].count++;
    if (position >= state.n_ctx) return ERROR_CONTEXT;
    state.pass[i] = (BatchToken){state.tokens[i], text, position, type};
  }
  state.n_outputs = 0;
  state.n_embeddings = state.n_texts;
  return OK;
}

static void ends_of_sequences(uint32_t *ends) {
  for (uint32_t i = 0; i < state.n_sequences; i++) ends[i] = state.sequences[i].position;
}

/* Whether `n` tokens can be appended. Changes nothing: rows of the last pass may still be sampled. */
static int32_t check_tokens(uint32_t n) {
  uint32_t next[MAX_SEQUENCES], n_outputs = 0;
  ends_of_sequences(next);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t sequence = state.token_sequences[i];
    if ((uint32_t)state.tokens[i] >= weights.config.n_vocab) return ERROR_TOKEN;
    if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
    if (state.sequences[sequence].restored) return ERROR_STATE;
    if (next[sequence]++ >= state.n_ctx) return ERROR_CONTEXT;
    if (state.wanted[i] && n_outputs++ == state.max_outputs) return ERROR_ARGUMENT;
  }
  return OK;
}

/* Tokens for the ends of sequences; `next` becomes where each sequence then is. Positions follow:
 * two tokens of one sequence come one after the other. */
static int32_t take_tokens(uint32_t n, uint32_t *next) {
  int32_t error = check_tokens(n);
  if (error) return error;
  uint32_t n_outputs = 0;
  ends_of_sequences(next);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t sequence = state.token_sequences[i], position = next[sequence]++;
    state.pass[i] = (BatchToken){state.tokens[i], sequence, position, 0};
    state.sequences[sequence].history[position] = state.tokens[i];
    if (state.wanted[i]) state.outputs[n_outputs++] = i;
  }
  state.n_outputs = has_logits(&weights.config) ? n_outputs : 0;
  state.n_embeddings = n_outputs - state.n_outputs;
  return OK;
}

/* Evaluate the first `n` tokens: a decoder appends each to its sequence and computes the logits
 * or the embeddings of the wanted ones; an encoder takes whole texts. */
EXPORT(mlr_eval) int32_t mlr_eval(uint32_t n) {
  if (!state.ready) return ERROR_STATE;
  if (n < 1 || n > state.batch) return ERROR_ARGUMENT;
  bool causal = weights.config.causal;
  uint32_t next[MAX_SEQUENCES];
  int32_t error = causal ? take_tokens(n, next) : take_texts(n);
  if (error) return error;
  state.n_tokens = n;
  plan_attention();
  plan_head();
  error = run_forward();
  if (error) return error;
  for (uint32_t i = 0; causal && i < state.n_sequences; i++) advance(i, next[i]);
  return OK;
}
