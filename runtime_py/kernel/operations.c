/* The steps between the matrix products: norms, gates, rotary positions. */
#include "numeric.h"

/* out = x / sqrt(mean(x^2) + epsilon) * weight; the squares are summed in double precision. */
void rms_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *out) {
  v128_t even = wasm_f64x2_const_splat(0.0), odd = even;
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t v = wasm_v128_load(x + i);
    v128_t low = wasm_f64x2_promote_low_f32x4(v);
    v128_t high = wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(v, v, 2, 3, 2, 3));
    even = wasm_f64x2_add(even, wasm_f64x2_mul(low, low));
    odd = wasm_f64x2_add(odd, wasm_f64x2_mul(high, high));
  }
  v128_t sums = wasm_f64x2_add(even, odd);
  double sum = wasm_f64x2_extract_lane(sums, 0) + wasm_f64x2_extract_lane(sums, 1);
  v128_t scale = wasm_f32x4_splat(1.0f / __builtin_sqrtf((float)(sum / n) + epsilon));
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t v = wasm_f32x4_mul(wasm_v128_load(x + i), scale);
    wasm_v128_store(out + i, wasm_f32x4_mul(v, wasm_v128_load(weight + i)));
  }
}

void add_into(float *x, const float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 4)
    wasm_v128_store(x + i, wasm_f32x4_add(wasm_v128_load(x + i), wasm_v128_load(y + i)));
}

/* out = activation(gate) * up. SiLU is g / (1 + exp(-g)); the tanh form of GELU is the same with
 * 2 sqrt(2/pi) (g + 0.044715 g^3) in the exponent, because 1 + tanh(z) = 2 / (1 + exp(-2 z)). */
void gated(const float *gate, const float *up, uint32_t n, bool gelu, float *out) {
  v128_t one = wasm_f32x4_const_splat(1.0f);
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t g = wasm_v128_load(gate + i), z = g;
    if (gelu) {
      v128_t cubic = wasm_f32x4_mul(wasm_f32x4_const_splat(0.044715f), wasm_f32x4_mul(g, g));
      z = wasm_f32x4_mul(wasm_f32x4_mul(g, wasm_f32x4_const_splat(1.5957691216057308f)),
                         wasm_f32x4_add(one, cubic));
    }
    v128_t sigmoid = wasm_f32x4_div(one, wasm_f32x4_add(one, exp_f32x4(wasm_f32x4_neg(z))));
    wasm_v128_store(out + i, wasm_f32x4_mul(wasm_f32x4_mul(g, sigmoid), wasm_v128_load(up + i)));
  }
}

/* theta^(-2 i / rope_dim), divided by the model's own factors on global layers where it has them
 * (Llama 3), and times the linear scale on global layers. */
void rope_frequencies(void) {
  const Config *c = &weights.config;
  const Tensor *factors = &weights.shared[ROPE_FREQS];
  uint32_t half = c->rope_dim / 2;
  for (uint32_t i = 0; i < half; i++) {
    double exponent = -2.0 * i / c->rope_dim;
    double global = exp_f64(exponent * log_f64(c->rope_theta)) * c->rope_scale;
    if (factors->data) global /= (double)((const float *)factors->data)[i];
    state.inverse_frequency[i] = (float)global;
    state.inverse_frequency[half + i] = (float)exp_f64(exponent * log_f64(c->rope_theta_local));
  }
}

/* cos and sin of the angles of the pass's `n` tokens, for global and local layers. */
void rope_table(uint32_t n) {
  uint32_t half = weights.config.rope_dim / 2;
  for (uint32_t local = 0; local < 2; local++)
    for (uint32_t t = 0; t < n; t++) {
      float *out = state.rope + 2ull * half * (local * state.batch + t);
      for (uint32_t i = 0; i < half; i++) {
        double sine, cosine;
        sin_cos_f64((double)state.pass[t].position * (double)state.inverse_frequency[local * half + i], &sine,
                    &cosine);
        out[2 * i] = (float)cosine;
        out[2 * i + 1] = (float)sine;
      }
    }
}

/* Rotate the pairs of one head by the angles of its position. */
void rotate(float *head, const float *cos_sin, uint32_t rope_dim, bool halves) {
  uint32_t half = rope_dim / 2;
  for (uint32_t i = 0; i < half; i++) {
    float *a = halves ? head + i : head + 2 * i;
    float *b = halves ? head + half + i : head + 2 * i + 1;
    float cosine = cos_sin[2 * i], sine = cos_sin[2 * i + 1], first = *a, second = *b;
    *a = first * cosine - second * sine;
    *b = first * sine + second * cosine;
  }
}

void store_f16(const float *x, uint32_t n, uint16_t *out) {
  for (uint32_t i = 0; i < n; i++) out[i] = f32_to_f16(x[i]);
}
