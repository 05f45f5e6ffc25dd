/* Matrix products for several tokens at once.
 *
 * The tile functions take a tile's weights apart again for every few tokens. Here that is done
 * once: a panel of some tiles' rows by CHUNK columns is unpacked to bytes, in the scratch of this
 * thread, where it stays in the first-level cache while all the tokens pass over it, two at a time.
 * Two, because ROWS by TOKENS sums, one turn's weights and activations are what 16 vector
 * registers hold. Between chunks the sums rest in the output.
 *
 * The integers and the order of the floating-point operations for a row and a token are those of
 * the tile functions, so it does not show which of the two computed a logit.
 */
#include "tile.h"

enum {
  CHUNK = 512, /* columns: two super-blocks of the K types */
  TOKENS = 2,
#ifdef __wasm_relaxed_simd__
  TILES = 2, /* side by side in a panel */
#else
  TILES = 1,
#endif
  ROWS = TILES * TILE,
  VECTORS = ROWS / 4,
};

INLINE int32_t weight_of(int32_t scale) { return NARROW ? (scale & 0xffff) | scale << 16 : scale; }

typedef struct {
  uint8_t w[CHUNK / 4 * PLANES][TILES][4 * TILE]; /* groups of four columns, as in repack.c */
  float d[CHUNK / 32][ROWS];                      /* of each 32 columns, or the first CHUNK / 256 */
  float dmin[CHUNK / 256][ROWS];
  int32_t scale[CHUNK / 16][ROWS];          /* K types: of each sub-block, by weight_of */
  int16_t minimum[CHUNK / 64][ROWS][2];     /* Q4_K: sub-blocks in pairs */
} Panel;

bool gemm_takes(uint32_t type) {
  return type == TYPE_Q4_0 || type == TYPE_Q5_0 || type == TYPE_Q8_0 || type == TYPE_Q4_K ||
         type == TYPE_Q6_K;
}

/* --- Unpacking: block `b` of the panel's tile `i` ------------------------------------------- */

INLINE void put_group(Panel *p, uint32_t i, uint32_t group, v128_t w0, v128_t w1) {
  wasm_v128_store(p->w[group][i], w0);
  wasm_v128_store(p->w[group][i] + 16, w1);
}
INLINE void put_scales(float (*to)[ROWS], uint32_t i, const uint8_t *f16) {
  wasm_v128_store(*to + TILE * i, load_f16x4((const uint16_t *)f16));
  wasm_v128_store(*to + TILE * i + 4, load_f16x4((const uint16_t *)f16 + 4));
}

static void unpack_5bit(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, bool fifth) {
  put_scales(&p->d[b], i, block);
  block += 16;
  if (fifth) {
    v128_t w[8];
    for (uint32_t u = 0; u < 2; u++) {
      unpack_5(block + UNIT_5 * u, w);
      for (uint32_t g = 0; g < 4; g++) put_group(p, i, 8 * b + 4 * u + g, w[2 * g], w[2 * g + 1]);
    }
  } else {
    for (uint32_t g = 0; g < 8; g++) {
      v128_t raw = wasm_v128_load(block + 16 * g);
      put_group(p, i, 8 * b + g, low_nibbles(raw), high_nibbles(raw));
    }
  }
}

static void unpack_8bit(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales(&p->d[b], i, block);
  v128_t sign = wasm_i8x16_const_splat((int8_t)0x80); /* weights + 128 */
  for (uint32_t g = 0; g < 8; g++) {
    v128_t w0 = wasm_v128_xor(wasm_v128_load(block + 16 + 32 * g), sign);
    v128_t w1 = wasm_v128_xor(wasm_v128_load(block + 32 + 32 * g), sign);
    uint32_t group = 8 * PLANES * b + g;
    if (PLANES == 1) {
      put_group(p, i, group, w0, w1);
    } else {
      put_group(p, i, group, high_nibbles(w0), high_nibbles(w1));
      put_group(p, i, group + 8, low_nibbles(w0), low_nibbles(w1));
    }
  }
}

static void unpack_q4_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales(&p->d[b], i, block);
  put_scales(&p->dmin[b], i, block + 16);
  for (uint32_t j = 0; j < 8; j++)
    for (uint32_t r = 0; r < TILE; r++) {
      p->scale[8 * b + j][TILE * i + r] = weight_of(block[32 + 8 * j + r]);
      p->minimum[4 * b + j / 2][TILE * i + r][j & 1] = block[96 + 16 * (j / 2) + 2 * r + (j & 1)];
    }
  for (uint32_t g = 0; g < 64; g++) {
    v128_t raw = wasm_v128_load(block + 160 + 16 * g);
    put_group(p, i, 64 * b + g, low_nibbles(raw), high_nibbles(raw));
  }
}

static void unpack_q6_k(Panel *p, uint32_t i, uint32_t b, const uint8_t *block) {
  put_scales(&p->d[b], i, block);
  for (uint32_t j = 0; j < 16; j++)
    for (uint32_t r = 0; r < TILE; r++)
      p->scale[16 * b + j][TILE * i + r] = weight_of((int8_t)block[16 + 8 * j + r]);
  for (uint32_t u = 0; u < 16; u++) {
    v128_t w[8];
    unpack_6(block + 144 + UNIT_6 * u, w);
    for (uint32_t g = 0; g < 4; g++) put_group(p, i, 64 * b + 4 * u + g, w[2 * g], w[2 * g + 1]);
  }
}

static void unpack(Panel *p, uint32_t i, uint32_t b, const uint8_t *block, uint32_t type) {
  switch (type) {
    case TYPE_Q4_0: unpack_5bit(p, i, b, block, false); break;
    case TYPE_Q5_0: unpack_5bit(p, i, b, block, true); break;
    case TYPE_Q8_0: unpack_8bit(p, i, b, block); break;
    case TYPE_Q4_K: unpack_q4_k(p, i, b, block); break;
    default: unpack_q6_k(p, i, b, block); break;
  }
}

/* --- Multiplying: a panel times TOKENS tokens ------------------------------------------------ */

typedef struct {
  v128_t v[TOKENS][VECTORS]; /* of each token and row */
} Block;

typedef struct {
  Sum v[TOKENS][VECTORS];
} Sums;

typedef struct {
  Row row[TOKENS]; /* from the panel's first column on */
  float *out[TOKENS][TILES];
} Pair;

/* `columns` columns of weights from `w` on, plus `offset`, times the activations from `column` on. */
INLINE Sums dots(const uint8_t *w, const Pair *pair, uint32_t column, uint32_t columns, int32_t offset) {
  Sums sums;
  for (uint32_t t = 0; t < TOKENS; t++) {
    Sum start = offset ? sum_offset(&pair->row[t], column, columns, offset) : sum_zero();
    for (uint32_t v = 0; v < VECTORS; v++) sums.v[t][v] = start;
  }
  Group x0 = pair->row[0].q + column, x1 = pair->row[1].q + column;
  KEEP_LOOP for (uint32_t k = 0; k < columns; k += 4, w += TILES * 4 * TILE, x0 += 4, x1 += 4) {
    __asm__("" : "+r"(w), "+r"(x0), "+r"(x1)); /* so that loads take offsets from these addresses */
    v128_t weight[VECTORS];
    for (uint32_t v = 0; v < VECTORS; v++) weight[v] = wasm_v128_load(w + 16 * v);
    for (uint32_t v = 0; v < VECTORS; v++) {
      sums.v[0][v] = dot_unsigned(sums.v[0][v], weight[v], x0);
      sums.v[1][v] = dot_unsigned(sums.v[1][v], weight[v], x1);
    }
  }
  return sums;
}

INLINE Block load_block(const Pair *pair, bool first) {
  Block block;
  for (uint32_t t = 0; t < TOKENS; t++)
    for (uint32_t v = 0; v < VECTORS; v++)
      block.v[t][v] =
          first ? wasm_f32x4_const_splat(0.0f) : wasm_v128_load(pair->out[t][v / 2] + 4 * (v % 2));
  return block;
}
INLINE void store_block(const Pair *pair, const Block *block) {
  for (uint32_t t = 0; t < TOKENS; t++)
    for (uint32_t v = 0; v < VECTORS; v++)
      wasm_v128_store(pair->out[t][v / 2] + 4 * (v % 2), block->v[t][v]);
}

/* Types with a scale for each 32 columns; `offset` is added to each weight. Of 8-bit weights in two
 * planes it is added to the high nibbles. */
INLINE void times_blocks(const Panel *p, uint32_t blocks, const Pair *pair, int32_t offset,
                         uint32_t planes, bool first) {
  Block out = load_block(pair, first);
  for (uint32_t b = 0; b < blocks; b++) {
    Sums sums[2];
    if (planes == 2) {
      KEEP_LOOP for (uint32_t i = 0; i < 2; i++) /* in memory, as below */
        sums[i] = dots(p->w[16 * b + 8 * i][0], pair, 32 * b, 32, i ? 0 : offset / 16);
    } else {
      sums[0] = dots(p->w[8 * b][0], pair, 32 * b, 32, offset);
    }
    for (uint32_t t = 0; t < TOKENS; t++) {
      v128_t d = splat_32(pair->row[t].scale + b);
      for (uint32_t v = 0; v < VECTORS; v++) {
        v128_t sum = sum_total(sums[0].v[t][v]);
        if (planes == 2) sum = wasm_i32x4_add(wasm_i32x4_shl(sum, 4), sum_total(sums[1].v[t][v]));
        v128_t scale = wasm_f32x4_mul(wasm_v128_load(p->d[b] + 4 * v), d);
        out.v[t][v] = wasm_f32x4_add(out.v[t][v], scaled(sum, scale));
      }
    }
  }
  store_block(pair, &out);
}

/* The K types: 256 columns in sub-blocks of `columns`, each with an integer scale. `offset` is added
 * to each weight; without one there are minima. The sums of all sub-blocks are made first, in
 * memory: the registers belong to the dots. */
INLINE void times_super_blocks(const Panel *p, uint32_t blocks, const Pair *pair, uint32_t columns,
                               int32_t offset, bool first) {
  const uint32_t n_subs = 256 / columns;
  Sums sums[16];
  Block out = load_block(pair, first);
  for (uint32_t b = 0; b < blocks; b++) {
    KEEP_LOOP for (uint32_t j = 0; j < n_subs; j++)
      sums[j] = dots(p->w[64 * b + columns / 4 * j][0], pair, 256 * b + columns * j, columns, offset);
    KEEP_LOOP for (uint32_t t = 0; t < TOKENS; t++) {
      v128_t total[VECTORS], minimum[VECTORS];
      for (uint32_t v = 0; v < VECTORS; v++) total[v] = minimum[v] = wasm_i32x4_const_splat(0);
      KEEP_LOOP for (uint32_t j = 0; j < n_subs; j++)
        for (uint32_t v = 0; v < VECTORS; v++) {
          v128_t scale = wasm_v128_load(p->scale[n_subs * b + j] + 4 * v);
          total[v] = wasm_i32x4_add(total[v], sum_scaled(sums[j].v[t][v], scale));
        }
      if (!offset) {
        KEEP_LOOP for (uint32_t j = 0; j < 4; j++) {
          v128_t x = splat_32(pair->row[t].sum32 + 8 * b + 2 * j);
          for (uint32_t v = 0; v < VECTORS; v++) {
            v128_t m = wasm_v128_load(p->minimum[4 * b + j][4 * v]);
            minimum[v] = wasm_i32x4_add(minimum[v], wasm_i32x4_dot_i16x8(m, x));
          }
        }
      }
      v128_t d = splat_32(pair->row[t].scale + 8 * b);
      for (uint32_t v = 0; v < VECTORS; v++) {
        v128_t sum = scaled(total[v], wasm_f32x4_mul(wasm_v128_load(p->d[b] + 4 * v), d));
        if (!offset) {
          v128_t dmin = wasm_f32x4_mul(wasm_v128_load(p->dmin[b] + 4 * v), d);
          sum = wasm_f32x4_sub(sum, scaled(minimum[v], dmin));
        }
        out.v[t][v] = wasm_f32x4_add(out.v[t][v], sum);
      }
    }
  }
  store_block(pair, &out);
}

static void times_q4_0(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_blocks(p, blocks, pair, -8, 1, first);
}
static void times_q5_0(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_blocks(p, blocks, pair, -16, 1, first);
}
static void times_q8_0(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_blocks(p, blocks, pair, -128, PLANES, first);
}
static void times_q4_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_super_blocks(p, blocks, pair, 32, 0, first);
}
static void times_q6_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_super_blocks(p, blocks, pair, 16, -32, first);
}

/* Tiles `tile` … `end` of `w` times the first `n` rows of activations; see matmul_tiles. */
void gemm(const Tensor *w, uint32_t tile, uint32_t end, const Activations *a, uint32_t n, float *out,
          uint32_t stride) {
  Panel panel;
  uint32_t block = type_block(w->type);
  uint64_t tile_size = tile_bytes(w->type, w->cols), block_size = tile_size / (w->cols / block);
  const Quantized *x = uses_block256(w->type) ? &a->block256 : &a->block32;
  for (; tile < end; tile += TILES)
    for (uint32_t column = 0; column < w->cols; column += CHUNK) {
      uint32_t blocks = min_u32(CHUNK, w->cols - column) / block;
      for (uint32_t i = 0; i < TILES; i++) { /* an odd tile is its own neighbour */
        const uint8_t *from = w->data + min_u32(tile + i, end - 1) * tile_size + column / block * block_size;
        for (uint32_t b = 0; b < blocks; b++) unpack(&panel, i, b, from + b * block_size, w->type);
      }
      for (uint32_t token = 0; token < n; token += TOKENS) {
        Pair pair;
        for (uint32_t t = 0; t < TOKENS; t++) { /* so is an odd token */
          uint32_t row = min_u32(token + t, n - 1);
          pair.row[t] = row_at(x, row, column);
          for (uint32_t i = 0; i < TILES; i++)
            pair.out[t][i] = out + (uint64_t)row * stride + min_u32(tile + i, end - 1) * TILE;
        }
        bool first = column == 0;
        switch (w->type) {
          case TYPE_Q4_0: times_q4_0(&panel, blocks, &pair, first); break;
          case TYPE_Q5_0: times_q5_0(&panel, blocks, &pair, first); break;
          case TYPE_Q8_0: times_q8_0(&panel, blocks, &pair, first); break;
          case TYPE_Q4_K: times_q4_k(&panel, blocks, &pair, first); break;
          default: times_q6_k(&panel, blocks, &pair, first); break;
        }
      }
    }
}
