/* The output head: from hidden states to logits, or straight to the likeliest token.
 *
 * The head is most of what a small model reads for a token. Where only the largest logit is wanted
 * (greedy decoding), a bound of every logit is computed from half of the head's bytes; the logits are
 * then computed of those tiles alone whose bounds reach the largest logit found so far. The choice is
 * the same as that from all the logits. Should the host want them after all, `need_logits` computes
 * them from the activations of the pass, and the next pass computes them at once.
 */
#include "planes.h"

static Tensor *head(void) {
  Tensor *shared = weights.shared;
  return shared[OUTPUT].data ? &shared[OUTPUT] : &shared[TOKEN_EMBD];
}

/* Nothing comes after the product with the head: no bias, no scale, no soft cap. */
static bool is_plain(const Config *c) {
  return !weights.shared[OUTPUT_BIAS].data && c->logit_scale == 1.0 && c->final_softcap == 0.0;
}

void place_head(void) {
  Tensor *t = head();
  if (!has_logits(&weights.config) || t->type != TYPE_Q8_0 || !is_plain(&weights.config)) return;
  planes_place(t);
  weights.head_is_bounded = true; /* until a scale is negative */
}

void place_choices(void) {
  if (!weights.head_is_bounded) return;
  uint64_t rows = state.max_outputs;
  state.slack = place(4 * rows * (head()->cols / 32));
  state.seeds = place(sizeof(Choice) * rows * state.n_threads);
  state.choices = place(sizeof(Choice) * rows * state.n_threads);
  state.reached = place(4ull * state.n_threads);
}

/* Text leaves few tiles to compute. Where it was more than a third of them in the last pass that chose,
 * bounds cost more than they saved, and some passes do without. */
static bool reached_too_many(void) {
  uint64_t tiles = (weights.config.n_vocab + TILE - 1) / TILE, reached = 0;
  for (uint32_t i = 0; i < state.n_threads; i++) reached += state.reached[i];
  return 3 * reached > tiles * state.n_choices;
}

enum { WHOLE_PASSES = 8 };

/* Before a pass: whether to look for the largest logits only. */
void plan_head(void) {
  if (!weights.head_is_bounded || !state.n_outputs) {
    state.choosing = false;
    return;
  }
  if (state.choosing && reached_too_many()) state.whole_passes = WHOLE_PASSES;
  bool choosing = !state.logits_needed && !state.whole_passes;
  for (uint32_t row = 0; row < state.n_outputs && choosing; row++)
    choosing = takes_largest(state.pass[state.outputs[row]].sequence);
  if (state.whole_passes) state.whole_passes--;
  state.choosing = choosing;
  state.n_choices = state.n_outputs;
  state.logits_needed = false;
}

void head_input(const Tensor *norm, uint32_t token, uint32_t row) {
  const Tensor *user = head();
  uint32_t n_embd = weights.config.n_embd;
  norm_input(token, row, norm, &user, 1);
  if (state.choosing)
    planes_slack(&state.input.block32, row, n_embd, state.slack + (uint64_t)row * (n_embd / 32));
}

enum { LOGITS_PER_TASK = 4096 };

bool whole_head(uint32_t n_outputs) {
  const Config *c = &weights.config;
  const float *bias = (const float *)weights.shared[OUTPUT_BIAS].data;
  const Product product = {head(), state.logits, round_up(c->n_vocab, TILE)};
  if (!multiply(&product, 1, n_outputs)) return false;
  if (is_plain(c)) return true;
  uint32_t parts = (c->n_vocab + LOGITS_PER_TASK - 1) / LOGITS_PER_TASK, tasks = n_outputs * parts;
  for (uint32_t task; (task = next_task(tasks)) < tasks;) {
    uint32_t first = task % parts * LOGITS_PER_TASK, n = min_u32(c->n_vocab - first, LOGITS_PER_TASK);
    float *logits = logits_row(task / parts) + first;
    if (bias) add_into(logits, bias + first, n);
    if (c->logit_scale != 1.0) scale_row(logits, (float)c->logit_scale, n);
    if (c->final_softcap > 0.0) cap_row(logits, (float)c->final_softcap, n);
  }
  return barrier();
}

enum { TILES_PER_TASK = 64, PER_TASK = TILES_PER_TASK * TILE };

INLINE bool is_better(Choice a, Choice b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* The best that the threads have found for a row. */
static Choice best_of(const Choice *found, uint32_t row) {
  Choice best = found[row];
  for (uint32_t i = 1; i < state.n_threads; i++) {
    Choice other = found[(uint64_t)i * state.max_outputs + row];
    if (is_better(other, best)) best = other;
  }
  return best;
}

/* A tile's logits for a row; the best of them and of `best`. */
static Choice best_in_tile(uint32_t tile, uint32_t row, Choice best) {
  float logits[TILE] __attribute__((aligned(16)));
  uint32_t n = min_u32(weights.config.n_vocab - tile * TILE, TILE);
  planes_times(head(), tile, tile + 1, &state.input.block32, row, 1, logits, 0);
  for (uint32_t i = 0; i < n; i++) {
    Choice other = {logits[i], tile * TILE + i};
    if (is_better(other, best)) best = other;
  }
  return best;
}

/* The best of `best` and the tiles of a task whose bounds reach it, which are counted. */
static Choice best_in_task(uint32_t task, uint32_t n_tiles, uint32_t row, Choice best, uint32_t *reached) {
  const float *bounds = logits_row(row);
  uint32_t end = min_u32((task + 1) * TILES_PER_TASK, n_tiles);
  for (uint32_t tile = task * TILES_PER_TASK; tile < end; tile++) {
    v128_t reach = wasm_f32x4_splat(best.logit), low = wasm_v128_load(bounds + tile * TILE);
    v128_t high = wasm_v128_load(bounds + tile * TILE + 4);
    v128_t below = wasm_v128_and(wasm_f32x4_lt(low, reach), wasm_f32x4_lt(high, reach));
    if (wasm_i32x4_all_true(below)) continue;
    best = best_in_tile(tile, row, best);
    (*reached)++;
  }
  return best;
}

static const Choice NONE = {-__builtin_inff(), UINT32_MAX};

/* Into `choices`, for each row, what each thread has found to be the largest logit. */
bool largest_logits(uint32_t n_outputs, uint32_t thread) {
  const Tensor *w = head();
  uint32_t n_vocab = weights.config.n_vocab, stride = round_up(n_vocab, TILE), n_tiles = stride / TILE;
  uint32_t tasks = (n_tiles + TILES_PER_TASK - 1) / TILES_PER_TASK;
  Choice *seeds = state.seeds + (uint64_t)thread * state.max_outputs;
  Choice *choices = state.choices + (uint64_t)thread * state.max_outputs;
  for (uint32_t row = 0; row < n_outputs; row++) seeds[row] = NONE;
  for (uint32_t task; (task = next_task(tasks)) < tasks;) {
    uint32_t first = task * PER_TASK, n = min_u32(n_vocab - first, PER_TASK);
    planes_bounds(w, task * TILES_PER_TASK, min_u32((task + 1) * TILES_PER_TASK, n_tiles),
                  &state.input.block32, n_outputs, state.slack, state.logits, stride);
    for (uint32_t row = 0; row < n_outputs; row++) {
      const float *bounds = logits_row(row) + first;
      uint32_t i = argmax(bounds, n);
      Choice seed = {bounds[i], first + i};
      if (is_better(seed, seeds[row])) seeds[row] = seed;
    }
  }
  if (!barrier()) return false;
  for (uint32_t row = 0; row < n_outputs; row++) {
    uint32_t seed = best_of(seeds - (uint64_t)thread * state.max_outputs, row).id;
    choices[row] = seed < n_vocab ? best_in_tile(seed / TILE, row, NONE) : NONE;
  }
  uint32_t reached = 0;
  for (uint32_t task; (task = next_task(tasks)) < tasks;)
    for (uint32_t row = 0; row < n_outputs; row++)
      choices[row] = best_in_task(task, n_tiles, row, choices[row], &reached);
  state.reached[thread] = reached;
  return barrier();
}

/* After a pass that chose: the token with the largest logit, or a negative error. */
int32_t chosen_token(uint32_t row) {
  Choice best = best_of(state.choices, row);
  return __builtin_fabsf(best.logit) < __builtin_inff() ? (int32_t)best.id : ERROR_NOT_FINITE;
}

int32_t need_logits(void) {
  state.logits_needed = true;
  if (!state.choosing) return OK;
  state.choosing = false;
  state.head_only = true;
  int32_t error = run_forward();
  state.head_only = false;
  return error;
}
