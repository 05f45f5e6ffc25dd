/* What bench_kernel.py adds to the kernel's sources to time one matrix product. */
#include "kernel.h"

enum { ROWS_AT_ONCE = 8, MOST_TOKENS = 64 };

static Tensor tensor;
static Activations input;
static float *out;

/* A matrix of noise, and activations of noise. */
EXPORT(bench_prepare) int32_t bench_prepare(uint32_t type, uint32_t rows, uint32_t cols) {
  place_anew();
  uint64_t raw_bytes = ROWS_AT_ONCE * row_bytes(type, cols);
  tensor = (Tensor){.type = type, .rows = rows, .cols = cols};
  tensor.data = place(rows / TILE * tile_bytes(type, cols));
  place_activations(&input, MOST_TOKENS, (Widths){cols, cols, cols});
  out = place(4ull * MOST_TOKENS * rows);
  uint8_t *raw = place(raw_bytes);
  if ((uintptr_t)place(0) > (uint64_t)__builtin_wasm_memory_size(0) << 16) return ERROR_MEMORY;
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
      input.f32[t * input.stride + k] = (float)(noise >> 16) / 32768.0f - 1.0f;
    }
    quantize_row(&input, input.f32 + t * input.stride, t, 0, cols, uses_block32(type), uses_block256(type));
  }
  return OK;
}

EXPORT(bench_run) void bench_run(uint32_t tokens, uint32_t repeats) {
  for (; repeats; repeats--)
    matmul_tiles(&tensor, 0, tensor.rows / TILE, &input, tokens, out, tensor.rows);
}
