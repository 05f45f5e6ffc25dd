/* What bench_kernel.py adds to the kernel's sources to time one matrix product. */
#include "kernel.h"

enum { ROWS_AT_ONCE = 8, MOST_TOKENS = 64 };

extern uint8_t __heap_base;
static uint8_t *top;
static Tensor tensor;
static Activations input;
static float *out;

static void *take(uint64_t bytes) {
  void *at = top;
  top += (bytes + 63) / 64 * 64;
  return at;
}

static void take_quantized(Quantized *x, uint32_t cols) {
  uint64_t n = (uint64_t)MOST_TOKENS * cols;
  x->cols = cols;
#ifdef __wasm_relaxed_simd__
  x->q = take(n);
  x->split = take(2 * n);
#else
  x->q = take(2 * n);
#endif
  x->scale = take(n / 32 * 4);
  x->sum16 = take(n / 16 * 2);
  x->sum32 = take(n / 32 * 2);
#ifdef MLR_NARROW
  x->pair16 = take(n / 16 * 4);
#endif
}

/* A matrix of noise, and activations of noise. */
EXPORT(bench_prepare) int32_t bench_prepare(uint32_t type, uint32_t rows, uint32_t cols) {
  top = (uint8_t *)(((uintptr_t)&__heap_base + 63) / 64 * 64);
  uint64_t raw_bytes = ROWS_AT_ONCE * row_bytes(type, cols);
  tensor = (Tensor){.type = type, .rows = rows, .cols = cols};
  tensor.data = take(rows / TILE * tile_bytes(type, cols));
  input.stride = cols;
  input.f32 = take(4ull * MOST_TOKENS * cols);
  take_quantized(&input.block32, cols);
  take_quantized(&input.block256, cols);
  out = take(4ull * MOST_TOKENS * rows);
  uint8_t *raw = take(raw_bytes);
  if ((uintptr_t)top > (uint64_t)__builtin_wasm_memory_size(0) << 16) return ERROR_MEMORY;
  uint32_t noise = 1;
  for (uint32_t row = 0; row < rows; row += TILE) {
    for (uint64_t i = 0; i < raw_bytes; i++) {
      noise = noise * 1664525u + 1013904223u;
      raw[i] = (uint8_t)((noise >> 24 & 0x3b) | 0x04); /* as f16: neither huge nor subnormal */
    }
    repack_tile(type, cols, TILE, raw, tensor.data + row / TILE * tile_bytes(type, cols));
  }
  for (uint32_t t = 0; t < MOST_TOKENS; t++) {
    for (uint32_t k = 0; k < cols; k++) {
      noise = noise * 1664525u + 1013904223u;
      input.f32[t * cols + k] = (float)(noise >> 16) / 32768.0f - 1.0f;
    }
    quantize_row(&input, t, cols, uses_block32(type), uses_block256(type));
  }
  return OK;
}

EXPORT(bench_run) void bench_run(uint32_t tokens, uint32_t repeats) {
  for (; repeats; repeats--)
    matmul_tiles(&tensor, 0, tensor.rows / TILE, &input, tokens, out, tensor.rows);
}
