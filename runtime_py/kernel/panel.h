/* Weights unpacked for many tokens: some tiles side by side by CHUNK columns, in bytes. */
#ifndef MLR_PANEL_H
#define MLR_PANEL_H

#include "tile.h"

enum {
  CHUNK = 1024, /* columns: four super-blocks of the K types */
#ifdef __wasm_relaxed_simd__
  TILES = 2, /* side by side */
#else
  TILES = 1,
#endif
  ROWS = TILES * TILE,
};

/* Scales and minima lie by block: of 32 columns, or of 256 (the first few). Integer ones lie by
 * sub-block, four rows to a vector. */
typedef struct {
  uint8_t w[CHUNK / 4 * PLANES][TILES][4 * TILE]; /* groups of four columns, as in repack.c; of two
                                                     planes that of 32 columns after the other */
  float d[CHUNK / 32][ROWS];
  float dmin[CHUNK / 32][ROWS];
  int32_t scale[CHUNK / 16][ROWS];   /* as sum_scaled takes them; of each plane one */
  int32_t minimum[CHUNK / 32][ROWS]; /* of two sub-blocks: 16 bits each */
} Panel;

/* panel.c: block `b` of tile `i` of a panel, out of a tile's block of a type that gemm.c takes */
void unpack_block(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, uint32_t type);

#endif
