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
 */
#include "numeric.h"

#define UNSEEN (-__builtin_inff())

enum {
  ROWS = 64,  /* of a task */
  BLOCK = 64, /* positions between two looks at the largest score */
  CELLS = 16, /* positions widened at a time: a part of a block that fits the first-level cache */
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

void place_attention(void) {
  state.slopes = place(4ull * weights.config.n_heads);
  state.texts = place(sizeof(Run) * (uint64_t)state.batch);
  state.runs = place(sizeof(Run) * (uint64_t)state.batch);
  state.scores = place(4ull * state.n_threads * ROWS * BLOCK);
  state.cells = place(4ull * state.n_threads * CELLS * weights.config.head_dim);
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

uint32_t attention_tasks(void) {
  return state.n_runs * weights.config.n_kv_heads * tasks_per_kv_head();
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

static void attend(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, float *wide) {
  const Config *c = &weights.config;
  const LayerCache *cache = &state.cache[layer];
  uint32_t dim = c->head_dim, end = rows->to[rows->n - 1], from = rows->from[0];
  for (uint32_t start = from / BLOCK * BLOCK; start < end; start += BLOCK) {
    uint32_t first = (from > start ? from - start : 0) / CELLS * CELLS;
    uint32_t last = min_u32(end - start, BLOCK);
    for (uint32_t at = first; at < last; at += CELLS) {
      uint32_t count = min_u32(CELLS, last - at);
      read_cells(cache, &cache->k, sequence, start + at, count, kv_head, wide);
      score_cells(rows, wide, at, count, dim);
    }
    weigh(rows, start, dim);
    for (uint32_t at = first; at < last; at += CELLS) {
      uint32_t count = min_u32(CELLS, last - at);
      read_cells(cache, &cache->v, sequence, start + at, count, kv_head, wide);
      mix_cells(rows, wide, at, count, dim);
    }
  }
  for (uint32_t r = 0; r < rows->n; r++) {
    v128_t inverse = wasm_f32x4_splat(1.0f / rows->sum[r]);
    for (uint32_t d = 0; d < dim; d += 4)
      wasm_v128_store(rows->out[r] + d, wasm_f32x4_mul(wasm_v128_load(rows->out[r] + d), inverse));
  }
}

/* Tasks count heads of a key/value head first, then key/value heads, then runs of tokens. */
void attention_task(uint32_t layer, uint32_t task, uint32_t thread) {
  const Config *c = &weights.config;
  uint32_t parts = tasks_per_kv_head(), group = c->n_heads / c->n_kv_heads;
  uint32_t part = task % parts, kv_head = task / parts % c->n_kv_heads;
  Run run = state.runs[task / parts / c->n_kv_heads];
  uint32_t head = part * state.heads_per_task, heads = min_u32(state.heads_per_task, group - head);
  Rows rows = {.scores = state.scores + (uint64_t)thread * ROWS * BLOCK};
  for (uint32_t t = run.first; t < run.first + run.count; t++) {
    uint32_t position = state.pass[t].position;
    uint32_t end = c->causal ? position + 1 : state.texts[state.pass[t].sequence].count;
    uint32_t from = layer_slides(c, layer) && end > c->sliding_window ? end - c->sliding_window : 0;
    for (uint32_t h = head; h < head + heads; h++, rows.n++) {
      uint64_t at = (uint64_t)(kv_head * group + h) * c->head_dim;
      rows.q[rows.n] = state.q + (uint64_t)t * round_up(c->q_dim, TILE) + at;
      rows.out[rows.n] = state.input.f32 + (uint64_t)t * state.input.stride + at;
      rows.from[rows.n] = from;
      rows.to[rows.n] = end;
      rows.at[rows.n] = (float)position;
      rows.slope[rows.n] = state.slopes[kv_head * group + h];
      rows.largest[rows.n] = -__builtin_inff();
      for (uint32_t d = 0; d < c->head_dim; d += 4)
        wasm_v128_store(rows.out[rows.n] + d, wasm_f32x4_const_splat(0.0f));
    }
  }
  attend(&rows, layer, state.pass[run.first].sequence, kv_head,
         state.cells + (uint64_t)thread * CELLS * c->head_dim);
}
