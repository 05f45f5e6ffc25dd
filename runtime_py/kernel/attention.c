/* Attention, flash-style: softmax(scale * Q K^T) V without ever holding a row of scores whole.
 *
 * A task is up to ROWS rows that share their keys and values: the query heads of one key/value head
 * for a few tokens of one sequence. Keys and values are widened to floats once for all of them. The
 * cache is gone through in blocks of BLOCK positions; each row keeps the largest score so far, the
 * sum of the exponentials and the sum of the weighted values, and the latter two are scaled down
 * when a block brings a larger score.
 *
 * Blocks begin at multiples of BLOCK positions of the sequence, sums go from position to position,
 * and what a row cannot see gets the weight 0: so a row's result depends on neither the rows beside
 * it, nor the pass it is computed in, nor the thread.
 *
 * A single token of a model with fewer key/value heads than threads gives too few such tasks. Then
 * threads divide the positions first, for the scores, and next the columns of the values.
 */
#include "numeric.h"

#define UNSEEN (-__builtin_inff())

enum {
  ROWS = 64,  /* of a task */
  BLOCK = 64, /* positions between two looks at the largest score */
  CELLS = 16, /* positions widened at a time: a part of a block that fits the first-level cache */
  COLUMNS = 32, /* of the values that a thread takes at least: what shares a scale in 8 bits */
};

/* The rows of a task, and how far each has come. */
typedef struct {
  uint32_t n;
  const float *q[ROWS]; /* (head_dim) */
  float *out[ROWS];     /* (head_dim) the weighted values so far */
  uint32_t from[ROWS], to[ROWS]; /* the positions it sees: from..to-1 */
  float at[ROWS], slope[ROWS]; /* its position; what each position's distance takes off (ALiBi) */
  float largest[ROWS], sum[ROWS];
  float *scores; /* (ROWS, BLOCK) of the block under way, later the weights */
} Rows;

static bool has_few_tasks(void) {
  const Config *c = &weights.config;
  return c->causal && c->n_kv_heads < state.n_threads && c->n_heads / c->n_kv_heads <= ROWS;
}

void place_attention(void) {
  state.slopes = place(4ull * weights.config.n_heads);
  state.texts = place(sizeof(Run) * (uint64_t)state.batch);
  state.runs = place(sizeof(Run) * (uint64_t)state.batch);
  state.scores = place(4ull * state.n_threads * ROWS * BLOCK);
  state.cells = place(4ull * state.n_threads * CELLS * weights.config.head_dim);
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

/* Four dot products at a time have one vector of sums: a[i] summed is lane i. */
INLINE v128_t sum_each(v128_t a, v128_t b, v128_t c, v128_t d) {
  v128_t ab = wasm_f32x4_add(wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), wasm_i32x4_shuffle(a, b, 2, 6, 3, 7));
  v128_t cd = wasm_f32x4_add(wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), wasm_i32x4_shuffle(c, d, 2, 6, 3, 7));
  return wasm_f32x4_add(wasm_i64x2_shuffle(ab, cd, 0, 2), wasm_i64x2_shuffle(ab, cd, 1, 3));
}

/* scores[r][i] = q[r] . keys[i] for `rows` rows and four keys. */
INLINE void score_4(const float *keys, const float *const *q, uint32_t dim, uint32_t rows, float *scores) {
  v128_t sums[2][4];
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t i = 0; i < 4; i++) sums[r][i] = wasm_f32x4_const_splat(0.0f);
#pragma clang loop unroll(disable) vectorize(disable)
  for (uint32_t d = 0; d < dim; d += 4)
    for (uint32_t r = 0; r < rows; r++) {
      v128_t x = wasm_v128_load(q[r] + d);
      for (uint32_t i = 0; i < 4; i++)
        sums[r][i] = wasm_f32x4_add(sums[r][i], wasm_f32x4_mul(x, wasm_v128_load(keys + i * dim + d)));
    }
  for (uint32_t r = 0; r < rows; r++)
    wasm_v128_store(scores + r * BLOCK, sum_each(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
}

/* The scores of `count` widened keys, those of the block from `at` on. */
static void score_cells(Rows *rows, const float *keys, uint32_t at, uint32_t count, uint32_t dim) {
  for (uint32_t r = 0; r < rows->n; r += 2)
    for (uint32_t i = 0; i < count; i += 4) {
      float *scores = rows->scores + r * BLOCK + at + i;
      if (r + 1 < rows->n)
        score_4(keys + i * dim, rows->q + r, dim, 2, scores);
      else
        score_4(keys + i * dim, rows->q + r, dim, 1, scores);
    }
}

/* scale * score, capped, less slope * distance, for the positions from `start` on, in place; returns
 * the largest of each lane. */
INLINE v128_t adjust(float *scores, float start, float at, float slope) {
  const Config *c = &weights.config;
  v128_t by = wasm_f32x4_splat((float)c->attention_scale);
  v128_t cap = wasm_f32x4_splat((float)c->attention_softcap), most = wasm_f32x4_const_splat(-__builtin_inff());
  v128_t distance = wasm_f32x4_sub(wasm_f32x4_splat(start - at), wasm_f32x4_const(0, -1, -2, -3));
  for (uint32_t i = 0; i < BLOCK; i += 4) {
    v128_t x = wasm_f32x4_mul(wasm_v128_load(scores + i), by);
    if (c->attention_softcap > 0.0) x = soft_cap_f32x4(x, cap);
    if (slope > 0.0f) {
      x = wasm_f32x4_sub(x, wasm_f32x4_mul(wasm_f32x4_abs(distance), wasm_f32x4_splat(slope)));
      distance = wasm_f32x4_add(distance, wasm_f32x4_const_splat(4.0f));
    }
    wasm_v128_store(scores + i, x);
    most = wasm_f32x4_pmax(most, x);
  }
  return most;
}

/* From scores to weights exp(adjusted score - largest) for the block of positions from `start` on;
 * what a row does not see gets the weight 0. */
static void weigh(Rows *rows, uint32_t start, uint32_t dim) {
  for (uint32_t r = 0; r < rows->n; r++) {
    float *scores = rows->scores + r * BLOCK;
    uint32_t from = rows->from[r] > start ? rows->from[r] - start : 0;
    uint32_t to = rows->to[r] > start ? min_u32(rows->to[r] - start, BLOCK) : 0;
    if (from >= to) {
      for (uint32_t i = 0; i < BLOCK; i++) scores[i] = 0.0f;
      continue;
    }
    for (uint32_t i = 0; i < from; i++) scores[i] = UNSEEN;
    for (uint32_t i = to; i < BLOCK; i++) scores[i] = UNSEEN;
    v128_t most = adjust(scores, (float)start, rows->at[r], rows->slope[r]);
    for (uint32_t i = 0; i < from; i++) scores[i] = UNSEEN; /* a cap has lifted it */
    for (uint32_t i = to; i < BLOCK; i++) scores[i] = UNSEEN;
    float largest = rows->largest[r];
#define LANE(i) \
  largest = largest < wasm_f32x4_extract_lane(most, i) ? wasm_f32x4_extract_lane(most, i) : largest
    LANE(0);
    LANE(1);
    LANE(2);
    LANE(3);
#undef LANE
    v128_t shift = wasm_f32x4_splat(largest), sums = wasm_f32x4_const_splat(0.0f);
    for (uint32_t i = 0; i < BLOCK; i += 4) {
      v128_t weight = exp_f32x4(wasm_f32x4_sub(wasm_v128_load(scores + i), shift));
      wasm_v128_store(scores + i, weight);
      sums = wasm_f32x4_add(sums, weight);
    }
    if (largest > rows->largest[r]) { /* else by 1, which changes nothing */
      v128_t down = exp_f32x4(wasm_f32x4_splat(rows->largest[r] - largest));
      rows->sum[r] *= wasm_f32x4_extract_lane(down, 0);
      for (uint32_t d = 0; d < dim; d += 4)
        wasm_v128_store(rows->out[r] + d, wasm_f32x4_mul(wasm_v128_load(rows->out[r] + d), down));
    }
    rows->largest[r] = largest;
    rows->sum[r] += sum_f32x4(sums);
  }
}

/* out[r] += sum of weights[r][i] * values[i], for `rows` rows and 4 * `vectors` columns. */
INLINE void mix(const float *values, uint32_t count, uint32_t dim, const float *weights_of,
                float *const *out, uint32_t rows, uint32_t column, uint32_t vectors) {
  v128_t acc[2][4];
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t j = 0; j < vectors; j++) acc[r][j] = wasm_v128_load(out[r] + column + 4 * j);
#pragma clang loop unroll(disable) vectorize(disable)
  for (uint32_t i = 0; i < count; i++, values += dim)
    for (uint32_t r = 0; r < rows; r++) {
      v128_t w = wasm_v128_load32_splat(weights_of + r * BLOCK + i);
      for (uint32_t j = 0; j < vectors; j++)
        acc[r][j] = wasm_f32x4_add(acc[r][j], wasm_f32x4_mul(w, wasm_v128_load(values + column + 4 * j)));
    }
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t j = 0; j < vectors; j++) wasm_v128_store(out[r] + column + 4 * j, acc[r][j]);
}

static void mix_cells(const Rows *rows, const float *values, uint32_t at, uint32_t count, uint32_t dim) {
  for (uint32_t r = 0; r < rows->n; r += 2) {
    const float *w = rows->scores + r * BLOCK + at;
    uint32_t column = 0;
    if (r + 1 < rows->n) {
      for (; column + 16 <= dim; column += 16) mix(values, count, dim, w, rows->out + r, 2, column, 4);
      for (; column < dim; column += 4) mix(values, count, dim, w, rows->out + r, 2, column, 1);
    } else {
      for (; column + 16 <= dim; column += 16) mix(values, count, dim, w, rows->out + r, 1, column, 4);
      for (; column < dim; column += 4) mix(values, count, dim, w, rows->out + r, 1, column, 1);
    }
  }
}

/* Adds `heads` heads of a token from `head` on, whose values are mixed from `column` on. */
static void add_rows(Rows *rows, uint32_t layer, uint32_t t, uint32_t head, uint32_t heads, uint32_t column) {
  const Config *c = &weights.config;
  uint32_t position = state.pass[t].position;
  uint32_t end = c->causal ? position + 1 : state.texts[state.pass[t].sequence].count;
  uint32_t from = layer_slides(c, layer) && end > c->sliding_window ? end - c->sliding_window : 0;
  for (uint32_t h = head; h < head + heads; h++, rows->n++) {
    uint64_t at = (uint64_t)h * c->head_dim;
    rows->q[rows->n] = state.q + (uint64_t)t * round_up(c->q_dim, TILE) + at;
    rows->out[rows->n] = state.input.f32 + (uint64_t)t * state.input.stride + at + column;
    rows->from[rows->n] = from;
    rows->to[rows->n] = end;
    rows->at[rows->n] = (float)position;
    rows->slope[rows->n] = state.slopes[h];
    rows->largest[rows->n] = UNSEEN;
    rows->sum[rows->n] = 0.0f;
  }
}

/* The positions of the block from `start` on that rows look at, `*first` on. */
static uint32_t end_in_block(const Rows *rows, uint32_t start, uint32_t *first) {
  uint32_t from = rows->from[0];
  *first = (from > start ? from - start : 0) / CELLS * CELLS;
  return min_u32(rows->to[rows->n - 1] - start, BLOCK);
}

static void score_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                        float *wide) {
  const LayerCache *cache = &state.cache[layer];
  uint32_t dim = weights.config.head_dim, first, last = end_in_block(rows, start, &first);
  for (uint32_t at = first; at < last; at += CELLS) {
    uint32_t count = min_u32(CELLS, last - at);
    read_cells(cache, &cache->k, sequence, start + at, count, kv_head, 0, dim, wide);
    score_cells(rows, wide, at, count, dim);
  }
}

static void mix_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                      uint32_t column, uint32_t columns, float *wide) {
  const LayerCache *cache = &state.cache[layer];
  uint32_t first, last = end_in_block(rows, start, &first);
  weigh(rows, start, columns);
  for (uint32_t at = first; at < last; at += CELLS) {
    uint32_t count = min_u32(CELLS, last - at);
    read_cells(cache, &cache->v, sequence, start + at, count, kv_head, column, columns, wide);
    mix_cells(rows, wide, at, count, columns);
  }
}

static void begin_mix(Rows *rows, uint32_t columns) {
  for (uint32_t r = 0; r < rows->n; r++) __builtin_memset(rows->out[r], 0, 4ull * columns);
}

static void end_mix(Rows *rows, uint32_t columns) {
  for (uint32_t r = 0; r < rows->n; r++) scale_row(rows->out[r], 1.0f / rows->sum[r], columns);
}

static float *own_scores(uint32_t thread) { return state.scores + (uint64_t)thread * ROWS * BLOCK; }
static float *own_cells(uint32_t thread) {
  return state.cells + (uint64_t)thread * CELLS * weights.config.head_dim;
}

/* Tasks count heads of a key/value head first, then key/value heads, then runs of tokens. */
static void attend(uint32_t layer, uint32_t task, uint32_t thread) {
  const Config *c = &weights.config;
  uint32_t parts = tasks_per_kv_head(), group = c->n_heads / c->n_kv_heads, dim = c->head_dim;
  uint32_t part = task % parts, kv_head = task / parts % c->n_kv_heads;
  Run run = state.runs[task / parts / c->n_kv_heads];
  uint32_t head = part * state.heads_per_task, heads = min_u32(state.heads_per_task, group - head);
  uint32_t sequence = state.pass[run.first].sequence;
  float *wide = own_cells(thread);
  Rows rows;
  rows.n = 0;
  rows.scores = own_scores(thread);
  for (uint32_t t = run.first; t < run.first + run.count; t++)
    add_rows(&rows, layer, t, kv_head * group + head, heads, 0);
  begin_mix(&rows, dim);
  uint32_t end = rows.to[rows.n - 1];
  for (uint32_t start = rows.from[0] / BLOCK * BLOCK; start < end; start += BLOCK) {
    score_block(&rows, layer, sequence, kv_head, start, wide);
    mix_block(&rows, layer, sequence, kv_head, start, 0, dim, wide);
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
static void score_part(Rows *rows, uint32_t layer, uint32_t kv_head, uint32_t position, float *wide) {
  const LayerCache *cache = &state.cache[layer];
  uint32_t dim = weights.config.head_dim, count = min_u32(CELLS, rows->to[0] - position);
  rows->scores = scores_at(kv_head, position / BLOCK - rows->from[0] / BLOCK);
  read_cells(cache, &cache->k, state.pass[0].sequence, position, count, kv_head, 0, dim, wide);
  score_cells(rows, wide, position % BLOCK, count, dim);
}

/* The one token's values, `columns` of them from `column` on, for all heads of a key/value head. */
static void mix_part(Rows *rows, uint32_t layer, uint32_t kv_head, uint32_t column, uint32_t columns,
                     float *wide) {
  uint32_t first = rows->from[0] / BLOCK;
  begin_mix(rows, columns);
  for (uint32_t block = first; block * BLOCK < rows->to[0]; block++) {
    __builtin_memcpy(rows->scores, scores_at(kv_head, block - first), 4ull * rows->n * BLOCK);
    mix_block(rows, layer, state.pass[0].sequence, kv_head, block * BLOCK, column, columns, wide);
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
