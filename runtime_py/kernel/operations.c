/* The steps between the matrix products: norms, biases, activations. */
#include "numeric.h"

/* Sum of (x - shift) or of its squares, in double precision, in four interleaved parts. */
INLINE double sum_f64(const float *x, uint32_t n, double shift, bool squares) {
  v128_t even = wasm_f64x2_const_splat(0.0), odd = even, by = wasm_f64x2_splat(shift);
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t v = wasm_v128_load(x + i);
    v128_t low = wasm_f64x2_sub(wasm_f64x2_promote_low_f32x4(v), by);
    v128_t high = wasm_f64x2_sub(wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(v, v, 2, 3, 2, 3)), by);
    even = wasm_f64x2_add(even, squares ? wasm_f64x2_mul(low, low) : low);
    odd = wasm_f64x2_add(odd, squares ? wasm_f64x2_mul(high, high) : high);
  }
  v128_t sums = wasm_f64x2_add(even, odd);
  return wasm_f64x2_extract_lane(sums, 0) + wasm_f64x2_extract_lane(sums, 1);
}

/* out = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight, where the mean of an RMS norm is
 * taken to be 0 */
INLINE void norm_about(const float *x, const float *weight, uint32_t n, double mean, float epsilon, float *out) {
  double squares = sum_f64(x, n, mean, true);
  v128_t scale = wasm_f32x4_splat(1.0f / __builtin_sqrtf((float)(squares / n) + epsilon));
  v128_t shift = wasm_f32x4_splat((float)mean);
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t v = wasm_f32x4_mul(wasm_f32x4_sub(wasm_v128_load(x + i), shift), scale);
    wasm_v128_store(out + i, wasm_f32x4_mul(v, wasm_v128_load(weight + i)));
  }
}

/* out = norm(x) of the model's kind, n a multiple of 4; a norm that is absent changes nothing. The
 * bias is in the slot after the weight's. */
void norm_row(const float *x, const Tensor *norm, uint32_t n, float *out) {
  const Config *c = &weights.config;
  const float *weight = (const float *)norm[0].data;
  if (!weight) {
    if (out != x) __builtin_memcpy(out, x, 4ull * n);
    return;
  }
  if (c->norm == NORM_LAYER)
    norm_about(x, weight, n, sum_f64(x, n, 0.0, false) / n, (float)c->norm_epsilon, out);
  else
    norm_about(x, weight, n, 0.0, (float)c->norm_epsilon, out);
  if (norm[1].data) add_into(out, (const float *)norm[1].data, n);
}

void add_into(float *x, const float *y, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 4)
    wasm_v128_store(x + i, wasm_f32x4_add(wasm_v128_load(x + i), wasm_v128_load(y + i)));
}

void scale_row(float *x, float factor, uint32_t n) {
  v128_t by = wasm_f32x4_splat(factor);
  for (uint32_t i = 0; i < n; i += 4) wasm_v128_store(x + i, wasm_f32x4_mul(wasm_v128_load(x + i), by));
}

/* After a product with `linear`: its factor and its bias, which are in the slots after it, for `n`
 * columns of the row from `first` on. */
void finish_linear(const Tensor *linear, float *row, uint32_t first, uint32_t n) {
  if (linear[2].data) scale_row(row + first, *(const float *)linear[2].data, n);
  if (linear[1].data) add_into(row + first, (const float *)linear[1].data + first, n);
}

/* SiLU is x / (1 + exp(-x)); the tanh form of GELU is the same with 2 sqrt(2/pi) (x + 0.044715 x^3)
 * in the exponent, because 1 + tanh(z) = 2 / (1 + exp(-2 z)). */
INLINE v128_t activate4(v128_t x, Activation activation) {
  v128_t one = wasm_f32x4_const_splat(1.0f), zero = wasm_f32x4_const_splat(0.0f), z = x;
  switch (activation) {
    case RELU: return wasm_f32x4_pmax(zero, x);
    case RELU_SQUARED: z = wasm_f32x4_pmax(zero, x); return wasm_f32x4_mul(z, z);
    case GELU_ERF: return gelu_erf_f32x4(x);
    case GELU: {
      v128_t cubic = wasm_f32x4_mul(wasm_f32x4_const_splat(0.044715f), wasm_f32x4_mul(x, x));
      z = wasm_f32x4_mul(wasm_f32x4_mul(x, wasm_f32x4_const_splat(1.5957691216057308f)),
                         wasm_f32x4_add(one, cubic));
      break;
    }
    default: break;
  }
  return wasm_f32x4_mul(x, wasm_f32x4_div(one, wasm_f32x4_add(one, exp_f32x4(wasm_f32x4_neg(z)))));
}

INLINE void activate_as(const float *x, const float *up, uint32_t n, Activation activation, float *out) {
  for (uint32_t i = 0; i < n; i += 4) {
    v128_t y = activate4(wasm_v128_load(x + i), activation);
    wasm_v128_store(out + i, up ? wasm_f32x4_mul(y, wasm_v128_load(up + i)) : y);
  }
}

/* out = activation(x) * up, or without `up` where that is NULL. Rows are padded to TILE. */
void activate(const float *x, const float *up, uint32_t n, float *out) {
  switch ((Activation)weights.config.activation) {
    case GELU: activate_as(x, up, n, GELU, out); break;
    case GELU_ERF: activate_as(x, up, n, GELU_ERF, out); break;
    case RELU: activate_as(x, up, n, RELU, out); break;
    case RELU_SQUARED: activate_as(x, up, n, RELU_SQUARED, out); break;
    default: activate_as(x, up, n, SILU, out); break;
  }
}

/* x = cap * tanh(x / cap) */
void cap_row(float *x, float cap, uint32_t n) {
  v128_t by = wasm_f32x4_splat(cap);
  for (uint32_t i = 0; i < n; i += 4) wasm_v128_store(x + i, soft_cap_f32x4(wasm_v128_load(x + i), by));
}
