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
#include "panel.h"
#include "tables.h"

enum {
  TOKENS = 2,
  VECTORS = ROWS / 4,
};

/* The activations of four columns from `column` on, as `dot` takes them; the next lie GROUP elements
 * after them. Narrow sums are added up as fast as splats are made: there they lie in memory. For a few
 * tokens they should not: they would be in the way of weights that come through the same caches. */
#ifdef MLR_NARROW
enum { GROUP = 16 };
INLINE Group group_at(const Row *x, uint32_t column) { return x->splat + 4 * column; }
INLINE Sum dot(Sum s, v128_t w, Group x) {
  return wasm_i16x8_add(s, wasm_i16x8_relaxed_dot_i8x16_i7x16(wasm_v128_load(x), w));
}
#else
enum { GROUP = 4 };
INLINE Group group_at(const Row *x, uint32_t column) { return x->q + column; }
INLINE Sum dot(Sum s, v128_t w, Group x) { return dot_unsigned(s, w, x); }
#endif

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
  Group x0 = group_at(&pair->row[0], column), x1 = group_at(&pair->row[1], column);
  const uint32_t turn = TILES * 4 * TILE;
  w -= turn, x0 -= GROUP, x1 -= GROUP;
  KEEP_LOOP for (uint32_t k = 0; k < columns; k += 4) {
    w += turn, x0 += GROUP, x1 += GROUP; /* here, or 32-bit addresses are extended once more */
    __asm__("" : "+r"(w), "+r"(x0), "+r"(x1)); /* so that loads take offsets from these addresses */
    v128_t weight[VECTORS];
    for (uint32_t v = 0; v < VECTORS; v++) weight[v] = wasm_v128_load(w + 16 * v);
    for (uint32_t v = 0; v < VECTORS; v++) {
      sums.v[0][v] = dot(sums.v[0][v], weight[v], x0);
      sums.v[1][v] = dot(sums.v[1][v], weight[v], x1);
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

/* Types with a scale for each 32 columns, maybe with a minimum; `offset` is added to each weight, of
 * two planes to those of the first. What it adds up to where there are minima is taken out again. */
INLINE void times_32(const Panel *p, uint32_t blocks, const Pair *pair, int32_t offset, uint32_t planes,
                     bool minima, bool first) {
  Block out = load_block(pair, first);
  for (uint32_t b = 0; b < blocks; b++) {
    Sums sums[2];
    if (planes == 2) {
      KEEP_LOOP for (uint32_t i = 0; i < 2; i++) /* in memory, as below */
        sums[i] = dots(p->w[16 * b + 8 * i][0], pair, 32 * b, 32, i ? 0 : offset);
    } else {
      sums[0] = dots(p->w[8 * b][0], pair, 32 * b, 32, offset);
    }
    for (uint32_t t = 0; t < TOKENS; t++) {
      v128_t d = splat_32(pair->row[t].scale + b);
      int32_t sum_of_x = pair->row[t].sum32[b];
      for (uint32_t v = 0; v < VECTORS; v++) {
        v128_t sum = sum_total(sums[0].v[t][v]);
        if (planes == 2) sum = wasm_i32x4_add(wasm_i32x4_shl(sum, 4), sum_total(sums[1].v[t][v]));
        if (minima) sum = wasm_i32x4_sub(sum, wasm_i32x4_splat(offset * sum_of_x));
        sum = scaled(sum, wasm_f32x4_mul(wasm_v128_load(p->d[b] + 4 * v), d));
        if (minima) {
          v128_t minimum = wasm_f32x4_mul(wasm_v128_load(p->dmin[b] + 4 * v), d);
          sum = wasm_f32x4_add(sum, wasm_f32x4_mul(wasm_f32x4_splat((float)sum_of_x), minimum));
        }
        out.v[t][v] = wasm_f32x4_add(out.v[t][v], sum);
      }
    }
  }
  store_block(pair, &out);
}

/* Types of 256 columns in sub-blocks of `columns`, each with an integer scale, of each plane;
 * `offset` as above; `minima`: for how many columns there is one, or 0. The sums of all sub-blocks are
 * made first, in memory: the registers belong to the dots. */
INLINE void times_256(const Panel *p, uint32_t blocks, const Pair *pair, uint32_t columns, int32_t offset,
                      uint32_t planes, uint32_t minima, bool first) {
  const uint32_t n_sums = 256 / columns * planes;
  Sums sums[16];
  Block out = load_block(pair, first);
  for (uint32_t b = 0; b < blocks; b++) {
    KEEP_LOOP for (uint32_t j = 0; j < n_sums; j += planes)
    for (uint32_t i = 0; i < planes; i++)
      sums[j + i] = dots(p->w[64 * planes * b + columns / 4 * (j + i)][0], pair,
                         256 * b + columns * (j / planes), columns, i ? 0 : offset);
    KEEP_LOOP for (uint32_t t = 0; t < TOKENS; t++) {
      v128_t total[VECTORS], minimum[VECTORS];
      for (uint32_t v = 0; v < VECTORS; v++) total[v] = minimum[v] = wasm_i32x4_const_splat(0);
      KEEP_LOOP for (uint32_t j = 0; j < n_sums; j++)
        for (uint32_t v = 0; v < VECTORS; v++) {
          v128_t scale = wasm_v128_load(p->scale[n_sums * b + j] + 4 * v);
          total[v] = wasm_i32x4_add(total[v], sum_scaled(sums[j].v[t][v], scale));
        }
      if (minima) {
        const uint32_t pairs = 128 / minima;
        const int16_t *sums_of_x = minima == 16 ? pair->row[t].sum16 : pair->row[t].sum32;
        KEEP_LOOP for (uint32_t j = 0; j < pairs; j++) {
          v128_t x = splat_32(sums_of_x + 2 * (pairs * b + j));
          for (uint32_t v = 0; v < VECTORS; v++) {
            v128_t m = wasm_v128_load(p->minimum[pairs * b + j] + 4 * v);
            minimum[v] = wasm_i32x4_add(minimum[v], wasm_i32x4_dot_i16x8(m, x));
          }
        }
      }
      v128_t d = splat_32(pair->row[t].scale + 8 * b);
      for (uint32_t v = 0; v < VECTORS; v++) {
        v128_t sum = scaled(total[v], wasm_f32x4_mul(wasm_v128_load(p->d[b] + 4 * v), d));
        if (minima) {
          v128_t dmin = wasm_f32x4_mul(wasm_v128_load(p->dmin[b] + 4 * v), d);
          sum = wasm_f32x4_sub(sum, scaled(minimum[v], dmin));
        }
        out.v[t][v] = wasm_f32x4_add(out.v[t][v], sum);
      }
    }
  }
  store_block(pair, &out);
}

APART void times_q4_0(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, -8, 1, false, first);
}
APART void times_q5_0(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, -16, 1, false, first);
}
APART void times_mxfp4(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, MXFP4_OFFSET, 1, false, first);
}
APART void times_q4_1(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, 0, 1, true, first);
}
APART void times_q5_1(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, NARROW ? -16 : 0, 1, true, first);
}
APART void times_iq4_nl(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_32(p, blocks, pair, IQ4_OFFSET, PLANES, false, first);
}
APART void times_q2_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 16, 0, 1, 16, first);
}
APART void times_q3_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 16, -4, 1, 0, first);
}
APART void times_q4_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 32, 0, 1, 32, first);
}
/* 5 bits without an offset: narrow sums hold those of 16 columns. */
APART void times_q5_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, NARROW ? 16 : 32, 0, 1, 32, first);
}
APART void times_q6_k(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 16, -32, 1, 0, first);
}
APART void times_iq4_xs(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 32, IQ4_OFFSET, PLANES, 0, first);
}
APART void times_ternary(const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  times_256(p, blocks, pair, 32, -1, 1, 0, first);
}

static void times(uint32_t type, const Panel *p, uint32_t blocks, const Pair *pair, bool first) {
  switch (type) {
    case TYPE_Q4_0: times_q4_0(p, blocks, pair, first); break;
    case TYPE_Q4_1: times_q4_1(p, blocks, pair, first); break;
    case TYPE_Q5_0: times_q5_0(p, blocks, pair, first); break;
    case TYPE_Q5_1: times_q5_1(p, blocks, pair, first); break;
    case TYPE_IQ4_NL: times_iq4_nl(p, blocks, pair, first); break;
    case TYPE_MXFP4: times_mxfp4(p, blocks, pair, first); break;
    case TYPE_Q2_K: times_q2_k(p, blocks, pair, first); break;
    case TYPE_Q3_K: times_q3_k(p, blocks, pair, first); break;
    case TYPE_Q4_K: times_q4_k(p, blocks, pair, first); break;
    case TYPE_Q5_K: times_q5_k(p, blocks, pair, first); break;
    case TYPE_Q6_K: times_q6_k(p, blocks, pair, first); break;
    case TYPE_IQ4_XS: times_iq4_xs(p, blocks, pair, first); break;
    default: times_ternary(p, blocks, pair, first); break; /* TYPE_TQ1_0, TYPE_TQ2_0 */
  }
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
        for (uint32_t b = 0; b < blocks; b++) unpack_block(&panel, i, b, from + b * block_size, w->type);
      }
      for (uint32_t token = 0; token < n; token += TOKENS) {
        Pair pair;
        for (uint32_t t = 0; t < TOKENS; t++) { /* so is an odd token */
          uint32_t row = min_u32(token + t, n - 1);
          pair.row[t] = row_at(x, row, column);
          for (uint32_t i = 0; i < TILES; i++)
            pair.out[t][i] = out + (uint64_t)row * stride + min_u32(tile + i, end - 1) * TILE;
        }
        times(w->type, &panel, blocks, &pair, column == 0);
      }
    }
}
