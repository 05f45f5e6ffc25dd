/* Rotary positions: the frequencies of a model, the angles of a pass, the rotation of a head. */
#include "numeric.h"

#define TWO_PI 6.28318530717958647692

/* The dimension whose angle makes `turns` turns in the original context (YaRN, section 3.2). */
static double dimension_of(double turns) {
  const Config *c = &weights.config;
  return c->rope_dim * log_f64(c->rope_original_context / (turns * TWO_PI)) / (2.0 * log_f64(c->rope_theta));
}

/* How much of pair i's own frequency YaRN keeps, besides the scaled one: all of the fast ones',
 * nothing of the slow ones', a ramp in between. */
static double yarn_share(uint32_t i) {
  const Config *c = &weights.config;
  double low = __builtin_floor(dimension_of(c->rope_beta_fast));
  double high = __builtin_ceil(dimension_of(c->rope_beta_slow));
  if (low < 0.0) low = 0.0;
  if (high > c->rope_dim - 1.0) high = c->rope_dim - 1.0;
  double width = high - low > 0.001 ? high - low : 0.001, ramp = (i - low) / width;
  ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
  return (1.0 - ramp) * c->rope_extension;
}

/* The model's own divisors of the frequencies, (rope_dim / 2), or NULL. LongRoPE has two sets, which are
 * a scaling; Llama 3's are part of the frequencies, in sliding layers too. */
static const float *frequency_divisors(void) {
  const Config *c = &weights.config;
  Slot slot = ROPE_FREQS;
  if (c->rope_scaling == SCALING_LONGROPE)
    slot = state.n_ctx > c->rope_original_context ? ROPE_FACTORS_LONG : ROPE_FACTORS_SHORT;
  return (const float *)weights.shared[slot].data;
}

/* theta^(-2 i / rope_dim), over the divisors; on global layers scaled as the model says. */
void rope_frequencies(void) {
  const Config *c = &weights.config;
  const float *divisors = frequency_divisors();
  uint32_t half = c->rope_dim / 2;
  for (uint32_t i = 0; i < half; i++) {
    double exponent = -2.0 * i / c->rope_dim;
    double global = exp_f64(exponent * log_f64(c->rope_theta));
    double local = exp_f64(exponent * log_f64(c->rope_theta_local));
    double share = c->rope_scaling == SCALING_YARN ? yarn_share(i) : 0.0;
    global = global * c->rope_scale * (1.0 - share) + global * share;
    if (divisors) global /= (double)divisors[i];
    if (divisors && c->rope_scaling != SCALING_LONGROPE) local /= (double)divisors[i];
    state.inverse_frequency[i] = (float)global;
    state.inverse_frequency[half + i] = (float)local;
  }
}

/* cos and sin, times the attention factor, of the angles of one token of the pass, for global and
 * local layers. */
void rope_table(uint32_t token) {
  const Config *c = &weights.config;
  uint32_t half = c->rope_dim / 2, sets = c->sliding_window && c->sliding_pattern ? 2 : 1;
  for (uint32_t local = 0; local < sets; local++) {
    float *out = state.rope + (uint64_t)c->rope_dim * (local * state.batch + token);
    double position = state.pass[token].position, factor = local ? 1.0 : c->rope_attention_factor;
    for (uint32_t i = 0; i < half; i++) {
      double sine, cosine;
      sin_cos_f64(position * (double)state.inverse_frequency[local * half + i], &sine, &cosine);
      out[2 * i] = (float)(cosine * factor);
      out[2 * i + 1] = (float)(sine * factor);
    }
  }
}

/* Of a token of the pass, (rope_dim / 2, 2 cos/sin). */
const float *rope_angles(uint32_t token, bool local) {
  return state.rope + (uint64_t)weights.config.rope_dim * ((local ? state.batch : 0) + token);
}

/* Pairs (2i, 2i + 1), four numbers at a time. */
static void rotate_interleaved(float *head, const float *cos_sin, uint32_t rope_dim) {
  const v128_t signs = wasm_f32x4_const(-1.0f, 1.0f, -1.0f, 1.0f);
  for (uint32_t i = 0; i + 4 <= rope_dim; i += 4) {
    v128_t x = wasm_v128_load(head + i), angle = wasm_v128_load(cos_sin + i);
    v128_t cosine = wasm_i32x4_shuffle(angle, angle, 0, 0, 2, 2);
    v128_t sine = wasm_f32x4_mul(wasm_i32x4_shuffle(angle, angle, 1, 1, 3, 3), signs);
    v128_t swapped = wasm_i32x4_shuffle(x, x, 1, 0, 3, 2);
    wasm_v128_store(head + i, wasm_f32x4_add(wasm_f32x4_mul(x, cosine), wasm_f32x4_mul(swapped, sine)));
  }
}

/* Pairs (i, i + half), four pairs at a time. */
static void rotate_halves(float *head, const float *cos_sin, uint32_t half) {
  for (uint32_t i = 0; i + 4 <= half; i += 4) {
    v128_t low = wasm_v128_load(cos_sin + 2 * i), high = wasm_v128_load(cos_sin + 2 * i + 4);
    v128_t cosine = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), sine = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
    v128_t a = wasm_v128_load(head + i), b = wasm_v128_load(head + half + i);
    wasm_v128_store(head + i, wasm_f32x4_sub(wasm_f32x4_mul(a, cosine), wasm_f32x4_mul(b, sine)));
    wasm_v128_store(head + half + i, wasm_f32x4_add(wasm_f32x4_mul(a, sine), wasm_f32x4_mul(b, cosine)));
  }
}

/* Rotate the pairs of one head by the angles of its position. */
void rotate(float *head, const float *cos_sin, uint32_t rope_dim, bool halves) {
  uint32_t half = rope_dim / 2;
  if (halves)
    rotate_halves(head, cos_sin, half);
  else
    rotate_interleaved(head, cos_sin, rope_dim);
  for (uint32_t i = halves ? half & ~3u : half & ~1u; i < half; i++) {
    float *a = halves ? head + i : head + 2 * i;
    float *b = halves ? head + half + i : head + 2 * i + 1;
    float cosine = cos_sin[2 * i], sine = cos_sin[2 * i + 1], first = *a, second = *b;
    *a = first * cosine - second * sine;
    *b = first * sine + second * cosine;
  }
}
