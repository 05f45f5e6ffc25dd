/* The kernel's data: what the model is, where its weights lie, and the state of the
 * sequences.
 *
 * A freestanding WASM module whose only import is a shared memory. Nothing here depends on the
 * host: no libc, no clock, no allocation after `mlr_open` has laid the memory out.
 *
 * Determinism is a promise: the logits are the same, bit for bit, in every host, with all builds
 * and at every thread count. So integer dot products are exact, every floating-point sum has one
 * fixed order, threads divide rows (never a sum), and fused multiply-add is not used.
 */
#ifndef MLR_KERNEL_H
#define MLR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#include "config.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define INLINE static inline __attribute__((always_inline))
/* A function that stays one. Hosts optimize a function when it has run for a while and is called again,
 * in the background, a large one for 100 ms: so the first prompt is read by small ones. The narrow
 * build's host compiles ahead of time. */
#ifdef MLR_NARROW
#define APART static
#else
#define APART static __attribute__((noinline))
#endif

/* Tokens evaluated in one pass at most. More unpack weights less often, and take memory, of which a
 * page has less. */
#ifdef MLR_NARROW
#define BATCH 128
#else
#define BATCH 64
#endif

enum {
  ABI_VERSION = 3,
  DESCRIPTOR_VERSION = 2,
  MAX_THREADS = 64,
  MAX_SEQUENCES = 64,
  MAX_OUTPUTS = 8,       /* tokens of a pass with logits, where there are no more sequences */
  MAX_ALTERNATIVES = 256, /* tokens that mlr_top gives */
  TILE = 8,              /* rows of a weight tile */
  STACK_BYTES = 1 << 16, /* of each worker */
  STAGING_BYTES = (1 << 20) + 4096,
};

/* Negative return values of the exported functions; `abi.py` has a sentence for each. */
enum {
  OK = 0,
  ERROR_DESCRIPTOR = -1,   /* the descriptor is malformed or out of range */
  ERROR_TENSOR = -2,       /* a tensor has a wrong shape, type or place */
  ERROR_MISSING = -3,      /* a tensor that the architecture needs is not there */
  ERROR_ORDER = -4,        /* bytes were fed out of order or beyond a tensor */
  ERROR_INCOMPLETE = -5,   /* not every byte of every tensor was fed */
  ERROR_MEMORY = -6,       /* the memory is smaller than the layout */
  ERROR_STATE = -7,        /* called at the wrong time */
  ERROR_TOKEN = -8,        /* a token id outside the vocabulary */
  ERROR_CONTEXT = -9,      /* the tokens do not fit into the KV cache */
  ERROR_ARGUMENT = -10,    /* an argument out of range */
  ERROR_ABORTED = -11,     /* another thread failed */
  ERROR_NOT_FINITE = -12,  /* the logits hold no finite maximum */
  ERROR_SAVED = -13,       /* not a saved sequence of this model and cache type, or too long */
  ERROR_MASK = -14,        /* the mask allows no token */
};

/* Ids as in the GGUF format. */
typedef enum {
  TYPE_F32 = 0,
  TYPE_F16 = 1,
  TYPE_Q4_0 = 2,
  TYPE_Q4_1 = 3,
  TYPE_Q5_0 = 6,
  TYPE_Q5_1 = 7,
  TYPE_Q8_0 = 8,
  TYPE_Q2_K = 10,
  TYPE_Q3_K = 11,
  TYPE_Q4_K = 12,
  TYPE_Q5_K = 13,
  TYPE_Q6_K = 14,
  TYPE_IQ4_NL = 20,
  TYPE_IQ4_XS = 23,
  TYPE_BF16 = 30,
  TYPE_TQ1_0 = 34,
  TYPE_TQ2_0 = 35,
  TYPE_MXFP4 = 39,
} Type;

/* Which tensor of the model a descriptor entry is; `descriptor.py` has the GGUF names in the same
 * order, slots.c the shapes. A norm may have a bias. A linear layer may have a bias and a factor,
 * y = (W x) * scale + bias, which follow it. */
#define NORM(name) name, name##_BIAS
#define LINEAR(name) name, name##_BIAS, name##_SCALE
typedef enum {
  /* of the whole model */
  TOKEN_EMBD,
  POSITION_EMBD,
  TOKEN_TYPES,
  NORM(TOKEN_EMBD_NORM),
  NORM(OUTPUT_NORM),
  OUTPUT, /* TOKEN_EMBD where absent */
  OUTPUT_BIAS,
  CLS,
  CLS_BIAS,
  CLS_OUTPUT,
  CLS_OUTPUT_BIAS,
  ROPE_FREQS, /* divides the rotary frequencies */
  ROPE_FACTORS_LONG,
  ROPE_FACTORS_SHORT,
  /* of each layer */
  NORM(ATTN_NORM),
  NORM(ATTN_NORM_2), /* of attention's input, where ATTN_NORM is that of the other branch */
  LINEAR(ATTN_QKV),
  LINEAR(ATTN_Q),
  LINEAR(ATTN_K),
  LINEAR(ATTN_V),
  NORM(ATTN_Q_NORM),
  NORM(ATTN_K_NORM),
  NORM(ATTN_SUB_NORM),
  LINEAR(ATTN_OUTPUT),
  NORM(POST_ATTN_NORM),   /* of what attention adds */
  NORM(ATTN_OUTPUT_NORM), /* of the sum after attention */
  NORM(FFN_NORM),
  LINEAR(FFN_GATE),
  LINEAR(FFN_UP),
  NORM(FFN_SUB_NORM),
  LINEAR(FFN_DOWN),
  FFN_GATE_INP,
  FFN_GATE_EXPS,
  FFN_UP_EXPS,
  FFN_DOWN_EXPS,
  FFN_GATE_INP_SHEXP,
  FFN_GATE_SHEXP,
  FFN_UP_SHEXP,
  FFN_DOWN_SHEXP,
  NORM(POST_FFN_NORM),     /* of what the feed-forward network adds */
  NORM(LAYER_OUTPUT_NORM), /* of the sum after it */
  N_SLOTS,
} Slot;
#undef NORM
#undef LINEAR

typedef struct {
  uint32_t type;   /* a Type */
  uint32_t rows;   /* 1 for a vector; of all experts together */
  uint32_t cols;
  bool tiled;      /* a matrix; vectors are plain floats */
  uint8_t *data;   /* matrices: ceil(rows / TILE) tiles; vectors: float[cols]; NULL: absent */
  uint8_t *low;    /* not NULL: in two planes (planes.c), this being the second */
  uint64_t offset; /* of the tensor in the file, bytes */
  uint64_t size;   /* in the file, bytes */
  uint64_t fed;    /* bytes of it that have arrived */
} Tensor;

/* One or more rows of activations, quantized to 8 bits; see quantize.c. */
typedef struct {
  uint32_t cols;   /* row length, a multiple of 32 */
#ifdef __wasm_relaxed_simd__
  int8_t *q;       /* (batch, cols) */
  uint8_t *split;  /* (batch, cols / 4, 2, 4): max(q, 0) and max(-q, 0) of each four; for Q8_0,
                      so only where scales are per 32 */
#else
  int16_t *q;      /* (batch, cols) */
#endif
  float *scale;    /* (batch, cols / 32) */
  int16_t *sum16;  /* (batch, cols / 16): sum of each 16 q */
  int16_t *sum32;  /* (batch, cols / 32) */
#ifdef MLR_NARROW
  int8_t *splat;    /* (batch, cols / 4, 4, 4): each four q, four times over */
  int16_t *minus16; /* (batch, cols / 16, 2): of each 16 q minus the sums of those at 0, 1, 4, 5 …
                       and of those at 2, 3, 6, 7 … */
  int16_t *minus32; /* (batch, cols / 32, 2) */
#endif
} Quantized;

/* Activations in each form that some weight type multiplies. */
typedef struct {
  float *f32;        /* (batch, stride) */
  uint32_t stride;
  Quantized block32; /* scales per 32, rounded to f16: for Q4_0, Q5_0, Q8_0 */
  Quantized block256; /* one scale per 256: for Q4_K, Q6_K */
} Activations;

/* Keys or values of a layer, in 16 bits or in 8; a cell is what one position has. */
typedef struct {
  int16_t *q16;    /* (n_sequences, capacity, n_kv_heads, head_width); NULL: in 8 bits */
  int8_t *q8;      /* (n_sequences, capacity, kv_dim) */
  uint16_t *scale; /* (n_sequences, capacity, n_kv_heads, scales_per_head) f16 */
} Cells;

typedef struct {
  uint32_t capacity; /* positions held of a sequence; fewer than n_ctx: a ring */
  Cells k, v;
} LayerCache;

typedef struct {
  Config config;
  Tensor shared[ATTN_NORM];                       /* indexed by Slot */
  Tensor (*layers)[N_SLOTS - ATTN_NORM];          /* (n_layers) indexed by Slot - ATTN_NORM */
  Tensor **in_file_order;                         /* (n_tensors) */
  uint32_t n_tensors;
  uint32_t n_feeding; /* index of the tensor that the next bytes belong to */
  uint32_t damaged;   /* 1 + the index of the first vector that is not finite; 0: all are */
  bool head_is_bounded; /* the head is in two planes whose high one gives bounds */
} Weights;

typedef struct {
  uint32_t position;   /* tokens in the KV cache */
  uint32_t held_from;  /* the first position that rings still hold */
  uint32_t ring_start; /* position p lies at (p + ring_start) % capacity of a ring */
  uint64_t restored;   /* bytes taken so far of a saved form that is not whole yet */
  int32_t *history;    /* (n_ctx) the tokens in the KV cache */
} Sequence;

/* A token of the pass under way, and where it belongs. */
typedef struct {
  int32_t id;
  uint32_t sequence, position;
  uint32_t type; /* row of token_types */
} BatchToken;

/* A token with its logit, or a bound of it. */
typedef struct {
  float logit;
  uint32_t id;
} Choice;

/* What mlr_top gives of a token. */
typedef struct {
  uint32_t id;
  float value; /* the logit, and in the end its log probability */
} Alternative;

/* Tokens of a pass that belong to one sequence and come one after the other. */
typedef struct {
  uint32_t first, count;
} Run;

typedef struct {
  uint32_t n_ctx, n_threads, n_sequences;
  uint32_t batch;     /* tokens in one pass at most */
  uint32_t max_outputs; /* rows of `logits` */
  bool cache_in_8_bits;
  uint64_t model_hash; /* of the descriptor */
  bool ready;
  uint8_t *staging;    /* (STAGING_BYTES) what hosts hand over or take; NULL: the heap's start */
  Sequence sequences[MAX_SEQUENCES];
  LayerCache cache[MAX_LAYERS];
  /* what the host asks for: (batch) each */
  int32_t *tokens;
  uint32_t *token_sequences, *wanted, *token_types;
  /* the pass under way */
  BatchToken *pass;   /* (batch) */
  uint32_t n_tokens;
  uint32_t *outputs;  /* (max_outputs) indices into `pass` of the wanted tokens */
  uint32_t n_outputs; /* of the last pass: rows of `logits` that hold something */
  uint32_t n_embeddings; /* of the last pass: rows of `branch` that hold an embedding */
  /* scratch of one pass; strides are the widths rounded up to TILE; open.c says what shares a place */
  float *x;          /* (batch, n_embd) the residual stream */
  float *branch;     /* (batch, n_embd) what a block adds to it */
  float *q;          /* (batch, q_dim) */
  float *k, *v;      /* (batch, kv_dim) */
  float *gate, *up;  /* (batch, n_ff) */
  float *rope;       /* (2 global/local, batch, rope_dim / 2, 2 cos/sin) */
  float *inverse_frequency; /* (2 global/local, rope_dim / 2) */
  Run *runs;         /* (batch) the pass as attention divides it */
  uint32_t n_runs, heads_per_task;
  Run *texts;        /* (batch) of an encoder's pass */
  uint32_t n_texts;
  float *slopes;     /* (n_heads) of ALiBi; 0: none */
  int16_t *queries;  /* (batch, n_heads, head_width) */
  float *query_scales; /* (batch, n_heads) attention's own scale in them */
  float *scores;     /* (n_threads, ROWS, BLOCK) of attention */
  float *all_scores; /* (n_kv_heads, blocks, group, BLOCK) of a token whose positions threads divide */
  int16_t *cells;    /* (n_threads, room_rows, head_width) values in pairs; what was in 8 bits */
  Activations input; /* what the next matrix multiplies: n_embd, q_dim or n_ff wide */
  float *logits;     /* (max_outputs, n_vocab) */
  bool choosing;     /* the pass looks for the largest logits only: `logits` are bounds of them */
  bool logits_needed; /* the host has asked for more than the largest since the last pass */
  bool head_only;    /* the pass computes the logits of the pass before it */
  uint32_t n_choices; /* rows of the last pass that chose */
  uint32_t *reached; /* (n_threads) tiles of it that bounds did not leave out */
  uint32_t whole_passes; /* the next ones do not choose */
  int32_t *slack;    /* (max_outputs, n_embd / 32) of planes_slack */
  Choice *seeds, *choices; /* (n_threads, max_outputs) the largest bound and logit found */
  uint8_t *carry;    /* rows of a tile that has not arrived whole */
  void *candidates;  /* (n_vocab) of the sampler */
  Alternative *alternatives; /* (MAX_ALTERNATIVES) what mlr_top has found */
  uint32_t *masks;   /* (n_sequences, ceil(n_vocab / 32)) bits of the tokens that may be chosen */
  uint8_t *stacks;   /* (n_threads - 1, STACK_BYTES) */
  uint64_t weight_bytes, cache_bytes, total_bytes;
} State;

extern Weights weights;
extern State state;

INLINE uint32_t round_up(uint32_t n, uint32_t multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
INLINE float *nth_row(float *rows, uint32_t row, uint32_t width) {
  return rows + (uint64_t)row * round_up(width, TILE);
}
/* Addresses go to the host as doubles, which hold them in memories of any size. */
INLINE double address_of(const void *p) { return (double)(uintptr_t)p; }
INLINE float *logits_row(uint32_t row) {
  return state.logits + (uint64_t)row * round_up(weights.config.n_vocab, TILE);
}
INLINE const Tensor *layer_tensor(uint32_t layer, Slot slot) {
  return &weights.layers[layer][slot - ATTN_NORM];
}
INLINE bool layer_slides(const Config *c, uint32_t layer) {
  return c->sliding_window && c->sliding_pattern && (layer + 1) % c->sliding_pattern != 0;
}

INLINE bool layer_rotates(const Config *c, uint32_t layer) {
  return c->positions == POSITIONS_ROPE && (!c->rope_skip || (layer + 1) % c->rope_skip != 0);
}
/* A model with pooling gives embeddings, others logits. */
INLINE bool has_logits(const Config *c) { return c->causal && c->pooling == POOLING_NONE; }

/* layout.c */
bool type_is_known(uint32_t type);
uint32_t type_block(uint32_t type);              /* weights in a block */
uint64_t row_bytes(uint32_t type, uint32_t cols);  /* of a row in the file */
uint64_t tile_bytes(uint32_t type, uint32_t cols); /* of a tile of TILE rows in memory */

/* repack.c */
void repack_tile(uint32_t type, uint32_t cols, uint32_t rows, const uint8_t *raw, uint8_t *tile);

/* dequantize.c */
void dequantize_row(const Tensor *t, uint32_t row, float *out);

/* quantize.c */
void quantize_row(Activations *a, const float *x, uint32_t row, uint32_t first, uint32_t cols, bool block32,
                  bool block256);
bool uses_block32(uint32_t type);
bool uses_block256(uint32_t type);

/* matmul.c: rows tile*TILE … end*TILE of `w` times each of the first `n` rows of activations;
 * writes TILE floats a tile at out + token * stride + tile * TILE. */
void matmul_tiles(const Tensor *w, uint32_t tile, uint32_t end, const Activations *a, uint32_t n,
                  float *out, uint32_t stride);

/* gemm.c: the same for several tokens; neither for floats nor for Q8_0 */
void gemm(const Tensor *w, uint32_t tile, uint32_t end, const Activations *a, uint32_t n, float *out,
          uint32_t stride);

/* operations.c: rows of n floats. A row of a matrix product is padded to TILE, and vectors of four
 * may be loaded to its end. */
void norm_row(const float *x, const Tensor *norm, uint32_t n, float *out);
void add_into(float *x, const float *y, uint32_t n);
void scale_row(float *x, float factor, uint32_t n);
void finish_linear(const Tensor *linear, float *row, uint32_t first, uint32_t n);
void activate(const float *x, const float *up, uint32_t n, float *out);
void cap_row(float *x, float cap, uint32_t n);

/* rope.c */
void rope_frequencies(void);
void rope_table(uint32_t token);
const float *rope_angles(uint32_t token, bool local);
void rotate(float *head, const float *cos_sin, uint32_t rope_dim, bool halves);

/* experts.c */
void place_experts(void);
bool run_experts(uint32_t layer, uint32_t n);
void mix_experts(uint32_t token);

/* pooling.c */
bool pool(uint32_t n, uint32_t n_embeddings);

/* cache.c */
void place_cache(void);
void store_cells(uint32_t layer, uint32_t token, const float *k, const float *v);
void advance(uint32_t sequence, uint32_t position);
INLINE bool is_ring(const LayerCache *cache) { return cache->capacity < state.n_ctx; }
/* Where a position lies in a layer's keys and values; an encoder's texts lie one after the other. */
INLINE uint64_t cell_of(const LayerCache *cache, uint32_t sequence, uint32_t position) {
  if (!weights.config.causal) return state.texts[sequence].first + position;
  uint32_t start = is_ring(cache) ? state.sequences[sequence].ring_start : 0;
  return (uint64_t)sequence * cache->capacity + (position + start) % cache->capacity;
}
/* Of each head's key or value: blocks that have a scale. */
INLINE uint32_t scales_per_head(void) {
  return state.cache_in_8_bits ? (weights.config.head_dim + 31) / 32 : 1;
}
/* Of a head's row in 16 bits. */
INLINE uint32_t head_width(void) { return round_up(weights.config.head_dim, 8); }

/* open.c */
void place_anew(void); /* from the heap's start */
void *place(uint64_t bytes);
typedef struct {
  uint32_t f32, block32, block256; /* columns that each form of Activations holds */
} Widths;
Widths widths_of_matrices(uint32_t f32);
void place_activations(Activations *a, uint64_t rows, Widths widths);

/* slots.c */
typedef struct {
  uint32_t rows, cols, depth; /* rows 1 for a vector; depth: experts */
  bool matrix, allowed, required;
} SlotRule;
SlotRule slot_rule(Slot slot);
void split_fused(void);

/* attention.c */
void place_attention(void);
void prepare_attention(void);
void plan_attention(void);
void store_queries(uint32_t token, const float *q);
void move_queries(uint32_t from, uint32_t to);
bool attention(uint32_t layer, uint32_t thread);

/* sampler.c */
bool takes_largest(uint32_t sequence);
uint32_t argmax(const float *logits, uint32_t n);

/* head.c */
void place_head(void);
void place_choices(void);
void plan_head(void);
void head_input(const Tensor *norm, uint32_t token, uint32_t row);
bool whole_head(uint32_t n_outputs);
bool largest_logits(uint32_t n_outputs, uint32_t thread);
int32_t chosen_token(uint32_t row);
int32_t need_logits(void); /* before `logits` are read; an error where they cannot be computed */

/* forward.c */
typedef struct {
  const Tensor *tensor;
  float *out;
  uint32_t stride;
} Product;
void forward(uint32_t thread);
bool multiply(const Product *products, uint32_t n_products, uint32_t n_tokens);
void quantize_for(const Tensor *const *users, uint32_t n_users, uint32_t row, uint32_t cols);
void norm_input(uint32_t token, uint32_t row, const Tensor *norm, const Tensor *const *users,
                uint32_t n_users);
void add_feed_forward(uint32_t layer, uint32_t token);

/* threads.c */
bool barrier(void); /* false: give up, another thread failed */
uint32_t next_task(uint32_t count);
void threads_reset(void);
int32_t run_forward(void);

#endif
