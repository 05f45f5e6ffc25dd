/* planes.c: an output head in two planes, `low` being its second. */
#ifndef MLR_PLANES_H
#define MLR_PLANES_H

#include "kernel.h"

/* Divide the memory of a Q8_0 matrix into the planes. */
void planes_place(Tensor *t);
/* `rows` rows of the file into a tile; whether no scale is negative, so that bounds hold. */
bool planes_repack(Tensor *t, uint32_t tile, uint32_t rows, const uint8_t *raw);
/* As dequantize_row. */
void planes_dequantize(const Tensor *t, uint32_t row, float *out);
/* As matmul_tiles, for `n` rows of activations from `token` on; `out` is where the first tile goes. */
void planes_times(const Tensor *w, uint32_t tile, uint32_t end, const Quantized *x, uint32_t token,
                  uint32_t n, float *out, uint32_t stride);
/* Numbers that the results of planes_times do not exceed, from the high plane alone. `slack` has, for
 * each row of activations, the int32[cols / 32] that planes_slack makes of it. */
void planes_bounds(const Tensor *w, uint32_t tile, uint32_t end, const Quantized *x, uint32_t n,
                   const int32_t *slack, float *out, uint32_t stride);
void planes_slack(const Quantized *x, uint32_t row, uint32_t cols, int32_t *slack);

#endif
