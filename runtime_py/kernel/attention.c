/* Attention, flash-style: softmax(scale * Q K^T) V without ever holding a row of scores whole.
 *
 * A task is up to ROWS rows that share their keys and values: the query heads of one key/value head
 * for a few tokens of one sequence. The cache is gone through in blocks of BLOCK positions; each row
 * keeps the largest score so far, the sum of the exponentials and the sum of the weighted values, and
 * the latter two are scaled down when a block brings a larger score (blocks.c).
 *
 * Blocks begin at multiples of BLOCK positions of the sequence, sums go from position to position,
 * and what a row cannot see gets the weight 0: so a row's result depends on neither the rows beside
 * it, nor the pass it is computed in, nor the thread.
 *
 * A single token of a model with fewer key/value heads than threads gives too few such tasks. Then
 * threads divide the positions first, for the scores, and next the columns of the values.
 */
#include "attention.h"

/* Columns of the values that a thread takes at least: what shares a scale in 8 bits. */
#define COLUMNS 32

static bool has_few_tasks(void) {
  const Config *c = &weights.config;
  return c->causal && c->n_kv_heads < state.n_threads && c->n_heads / c->n_kv_heads <= ROWS;
}

/* Of `state.cells`: values in pairs, and where they are in 8 bits the same unpacked. */
static uint32_t room_rows(void) { return state.cache_in_8_bits ? 2 * BLOCK : BLOCK; }

void place_attention(void) {
  state.queries = place(2ull * state.batch * weights.config.n_heads * head_width());
  state.query_scales = place(4ull * state.batch * weights.config.n_heads);
  state.scores = place(4ull * state.n_threads * ROWS * BLOCK);
  state.cells = place(2ull * state.n_threads * room_rows() * head_width());
  if (has_few_tasks())
    state.all_scores = place(4ull * weights.config.n_heads * (round_up(state.n_ctx, BLOCK) + BLOCK));
}

/* The slopes of ALiBi (Press, Smith and Lewis, 2021): with n heads, a power of two, head h of 1..n
 * has 2^(-max_bias h / n); where n is none, those beyond the power below n take the odd steps of
 * twice that power. */
void prepare_attention(void) {
  const Config *c = &weights.config;
  uint32_t power = 1;
  while (power * 2 <= c->n_heads) power *= 2;
  for (uint32_t h = 0; h < c->n_heads; h++) {
    double step = h < power ? (double)(h + 1) / power : (double)(2 * (h - power) + 1) / (2 * power);
    double slope = exp_f64(-c->alibi_max_bias * step * 0.69314718055994530942);
    state.slopes[h] = c->positions == POSITIONS_ALIBI ? (float)slope : 0.0f;
  }
}

/* Divide the pass: as many rows a task as there is work enough for all threads. */
void plan_attention(void) {
  const Config *c = &weights.config;
  uint32_t group = c->n_heads / c->n_kv_heads, heads = min_u32(group, ROWS), tokens = ROWS / heads;
  while (tokens > 1 && state.n_tokens / tokens * c->n_kv_heads < 4 * state.n_threads) tokens /= 2;
  while (heads > 1 && state.n_tokens * (c->n_heads / heads) < state.n_threads) heads = (heads + 1) / 2;
  state.heads_per_task = heads;
  state.n_runs = 0;
  for (uint32_t i = 0; i < state.n_tokens; i++) {
    Run *last = &state.runs[state.n_runs - 1];
    if (i && last->count < tokens && state.pass[i].sequence == state.pass[i - 1].sequence)
      last->count++;
    else
      state.runs[state.n_runs++] = (Run){i, 1};
  }
}

static uint32_t tasks_per_kv_head(void) {
  uint32_t group = weights.config.n_heads / weights.config.n_kv_heads;
  return (group + state.heads_per_task - 1) / state.heads_per_task;
}

/* The queries of a token of the pass, q_dim floats. */
void store_queries(uint32_t token, const float *q) {
  const Config *c = &weights.config;
  for (uint32_t h = 0; h < c->n_heads; h++) {
    uint64_t at = (uint64_t)token * c->n_heads + h;
    uint16_t scale = round_key(q + h * c->head_dim, state.queries + at * head_width());
    state.query_scales[at] = head_scale(scale) * (float)c->attention_scale;
  }
}

/* Those of token `from` to the place of `to`. */
void move_queries(uint32_t from, uint32_t to) {
  uint32_t n_heads = weights.config.n_heads, width = n_heads * head_width();
  __builtin_memcpy(state.queries + (uint64_t)to * width, state.queries + (uint64_t)from * width, 2ull * width);
  __builtin_memcpy(state.query_scales + (uint64_t)to * n_heads, state.query_scales + (uint64_t)from * n_heads,
                   4ull * n_heads);
}

/* Adds `heads` heads of a token from `head` on, whose values are mixed from `column` on. */
static void add_rows(Rows *rows, uint32_t layer, uint32_t t, uint32_t head, uint32_t heads, uint32_t column) {
  const Config *c = &weights.config;
  uint32_t position = state.pass[t].position;
  uint32_t end = c->causal ? position + 1 : state.texts[state.pass[t].sequence].count;
  uint32_t from = layer_slides(c, layer) && end > c->sliding_window ? end - c->sliding_window : 0;
  for (uint32_t h = head; h < head + heads; h++, rows->n++) {
    uint64_t at = (uint64_t)t * c->n_heads + h;
    rows->q[rows->n] = state.queries + at * head_width();
    rows->q_scale[rows->n] = state.query_scales[at];
    rows->out[rows->n] = state.input.f32 + (uint64_t)t * state.input.stride + h * c->head_dim + column;
    rows->from[rows->n] = from;
    rows->to[rows->n] = end;
    rows->at[rows->n] = (float)position;
    rows->slope[rows->n] = state.slopes[h];
    rows->largest[rows->n] = UNSEEN;
    rows->sum[rows->n] = 0.0f;
  }
}

static void begin_mix(Rows *rows, uint32_t columns) {
  for (uint32_t r = 0; r < rows->n; r++) __builtin_memset(rows->out[r], 0, 4ull * columns);
}

static void end_mix(Rows *rows, uint32_t columns) {
  for (uint32_t r = 0; r < rows->n; r++) scale_row(rows->out[r], 1.0f / rows->sum[r], columns);
}

static float *own_scores(uint32_t thread) { return state.scores + (uint64_t)thread * ROWS * BLOCK; }
static int16_t *own_cells(uint32_t thread) {
  return state.cells + (uint64_t)thread * room_rows() * head_width();
}

/* Tasks count heads of a key/value head first, then key/value heads, then runs of tokens. */
static void attend(uint32_t layer, uint32_t task, uint32_t thread) {
  const Config *c = &weights.config;
  uint32_t parts = tasks_per_kv_head(), group = c->n_heads / c->n_kv_heads, dim = c->head_dim;
  uint32_t part = task % parts, kv_head = task / parts % c->n_kv_heads;
  Run run = state.runs[task / parts / c->n_kv_heads];
  uint32_t head = part * state.heads_per_task, heads = min_u32(state.heads_per_task, group - head);
  uint32_t sequence = state.pass[run.first].sequence;
  int16_t *room = own_cells(thread);
  Rows rows;
  rows.n = 0;
  rows.scores = own_scores(thread);
  for (uint32_t t = run.first; t < run.first + run.count; t++)
    add_rows(&rows, layer, t, kv_head * group + head, heads, 0);
  begin_mix(&rows, dim);
  uint32_t end = rows.to[rows.n - 1];
  for (uint32_t start = rows.from[0] / BLOCK * BLOCK; start < end; start += BLOCK) {
    score_block(&rows, layer, sequence, kv_head, start, room);
    mix_block(&rows, layer, sequence, kv_head, start, 0, dim, room);
  }
  end_mix(&rows, dim);
}

/* Where the scores of a block of positions lie, (group, BLOCK), `block` counted from the first seen. */
static float *scores_at(uint32_t kv_head, uint32_t block) {
  const Config *c = &weights.config;
  uint32_t group = c->n_heads / c->n_kv_heads, blocks = round_up(state.n_ctx, BLOCK) / BLOCK + 1;
  return state.all_scores + ((uint64_t)kv_head * blocks + block) * group * BLOCK;
}

/* The one token's scores for the positions of a task, by all heads of a key/value head. */
static void score_part(Rows *rows, uint32_t layer, uint32_t kv_head, uint32_t position, int16_t *room) {
  uint32_t count = min_u32(CELLS, rows->to[0] - position);
  rows->scores = scores_at(kv_head, position / BLOCK - rows->from[0] / BLOCK);
  score_cells(rows, layer, state.pass[0].sequence, kv_head, position, count, room);
}

/* The one token's values, `columns` of them from `column` on, for all heads of a key/value head. */
static void mix_part(Rows *rows, uint32_t layer, uint32_t kv_head, uint32_t column, uint32_t columns,
                     int16_t *room) {
  uint32_t first = rows->from[0] / BLOCK;
  begin_mix(rows, columns);
  for (uint32_t block = first; block * BLOCK < rows->to[0]; block++) {
    __builtin_memcpy(rows->scores, scores_at(kv_head, block - first), 4ull * rows->n * BLOCK);
    mix_block(rows, layer, state.pass[0].sequence, kv_head, block * BLOCK, column, columns, room);
  }
  end_mix(rows, columns);
}

/* The same for one token whose positions and columns the threads divide. */
static bool attend_together(uint32_t layer, uint32_t thread) {
  const Config *c = &weights.config;
  uint32_t group = c->n_heads / c->n_kv_heads, shares = (state.n_threads + c->n_kv_heads - 1) / c->n_kv_heads;
  uint32_t columns = round_up((c->head_dim + shares - 1) / shares, COLUMNS);
  Rows rows;
  rows.n = 0;
  add_rows(&rows, layer, 0, 0, group, 0);
  uint32_t from = rows.from[0] / CELLS * CELLS, parts = (rows.to[0] - from + CELLS - 1) / CELLS;
  for (uint32_t task; (task = next_task(c->n_kv_heads * parts)) < c->n_kv_heads * parts;) {
    rows.n = 0;
    add_rows(&rows, layer, 0, task / parts * group, group, 0);
    score_part(&rows, layer, task / parts, from + task % parts * CELLS, own_cells(thread));
  }
  if (!barrier()) return false;
  parts = (c->head_dim + columns - 1) / columns;
  for (uint32_t task; (task = next_task(c->n_kv_heads * parts)) < c->n_kv_heads * parts;) {
    uint32_t column = task % parts * columns;
    rows.n = 0;
    rows.scores = own_scores(thread);
    add_rows(&rows, layer, 0, task / parts * group, group, column);
    mix_part(&rows, layer, task / parts, column, min_u32(columns, c->head_dim - column), own_cells(thread));
  }
  return barrier();
}

/* The queries' mixtures of values, into `input`. */
bool attention(uint32_t layer, uint32_t thread) {
  bool together = state.n_tokens == 1 && state.pass[0].position >= BLOCK && has_few_tasks();
  if (together) return attend_together(layer, thread);
  uint32_t tasks = state.n_runs * weights.config.n_kv_heads * tasks_per_kv_head();
  for (uint32_t task; (task = next_task(tasks)) < tasks;) attend(layer, task, thread);
  return barrier();
}
