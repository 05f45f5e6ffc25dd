/* Which tensors a model has, and their shapes: a table, and what the configuration asks for. */
#include "kernel.h"

typedef enum {
  ONE,
  N_VOCAB,
  N_EMBD,
  N_CONTEXT,
  N_TOKEN_TYPES,
  ROPE_PAIRS,
  Q_DIM,
  KV_DIM,
  QKV_DIM,
  Q_NORM_DIM,
  K_NORM_DIM,
  N_FF,
  UP_DIM,
  N_EXPERTS,
  N_FF_EXPERT,
  N_FF_SHARED,
} Dimension;

typedef struct {
  uint8_t rows, cols, depth; /* each a Dimension */
  bool matrix;
  uint8_t beside; /* how many slots before it the matrix or norm is whose bias or factor it is */
} Shape;

#define VECTOR(cols) {ONE, cols, ONE, false, 0}
#define MATRIX(rows, cols) {rows, cols, ONE, true, 0}
#define EXPERTS(rows, cols) {rows, cols, N_EXPERTS, true, 0}
#define NORM(slot, cols) [slot] = VECTOR(cols), [slot##_BIAS] = {ONE, cols, ONE, false, 1}
#define LINEAR(slot, rows, cols)                                                      \
  [slot] = MATRIX(rows, cols), [slot##_BIAS] = {ONE, rows, ONE, false, 1},            \
  [slot##_SCALE] = {ONE, ONE, ONE, false, 2}

static const Shape SHAPES[N_SLOTS] = {
    [TOKEN_EMBD] = MATRIX(N_VOCAB, N_EMBD),
    [POSITION_EMBD] = MATRIX(N_CONTEXT, N_EMBD),
    [TOKEN_TYPES] = MATRIX(N_TOKEN_TYPES, N_EMBD),
    NORM(TOKEN_EMBD_NORM, N_EMBD),
    NORM(OUTPUT_NORM, N_EMBD),
    [OUTPUT] = MATRIX(N_VOCAB, N_EMBD),
    [OUTPUT_BIAS] = {ONE, N_VOCAB, ONE, false, 1},
    [CLS] = MATRIX(N_EMBD, N_EMBD),
    [CLS_BIAS] = {ONE, N_EMBD, ONE, false, 1},
    [CLS_OUTPUT] = VECTOR(N_EMBD),
    [CLS_OUTPUT_BIAS] = {ONE, ONE, ONE, false, 1},
    [ROPE_FREQS] = VECTOR(ROPE_PAIRS),
    [ROPE_FACTORS_LONG] = VECTOR(ROPE_PAIRS),
    [ROPE_FACTORS_SHORT] = VECTOR(ROPE_PAIRS),
    NORM(ATTN_NORM, N_EMBD),
    NORM(ATTN_NORM_2, N_EMBD),
    LINEAR(ATTN_QKV, QKV_DIM, N_EMBD),
    LINEAR(ATTN_Q, Q_DIM, N_EMBD),
    LINEAR(ATTN_K, KV_DIM, N_EMBD),
    LINEAR(ATTN_V, KV_DIM, N_EMBD),
    NORM(ATTN_Q_NORM, Q_NORM_DIM),
    NORM(ATTN_K_NORM, K_NORM_DIM),
    NORM(ATTN_SUB_NORM, Q_DIM),
    LINEAR(ATTN_OUTPUT, N_EMBD, Q_DIM),
    NORM(POST_ATTN_NORM, N_EMBD),
    NORM(ATTN_OUTPUT_NORM, N_EMBD),
    NORM(FFN_NORM, N_EMBD),
    LINEAR(FFN_GATE, N_FF, N_EMBD),
    LINEAR(FFN_UP, UP_DIM, N_EMBD),
    NORM(FFN_SUB_NORM, N_FF),
    LINEAR(FFN_DOWN, N_EMBD, N_FF),
    [FFN_GATE_INP] = MATRIX(N_EXPERTS, N_EMBD),
    [FFN_GATE_EXPS] = EXPERTS(N_FF_EXPERT, N_EMBD),
    [FFN_UP_EXPS] = EXPERTS(N_FF_EXPERT, N_EMBD),
    [FFN_DOWN_EXPS] = EXPERTS(N_EMBD, N_FF_EXPERT),
    [FFN_GATE_INP_SHEXP] = VECTOR(N_EMBD),
    [FFN_GATE_SHEXP] = MATRIX(N_FF_SHARED, N_EMBD),
    [FFN_UP_SHEXP] = MATRIX(N_FF_SHARED, N_EMBD),
    [FFN_DOWN_SHEXP] = MATRIX(N_EMBD, N_FF_SHARED),
    NORM(POST_FFN_NORM, N_EMBD),
    NORM(LAYER_OUTPUT_NORM, N_EMBD),
};

static uint32_t size_of(Dimension dimension) {
  const Config *c = &weights.config;
  bool whole = c->qk_norm == QK_NORM_FULL;
  switch (dimension) {
    case ONE: return 1;
    case N_VOCAB: return c->n_vocab;
    case N_EMBD: return c->n_embd;
    case N_CONTEXT: return c->context_length;
    case N_TOKEN_TYPES: return c->token_types;
    case ROPE_PAIRS: return c->rope_dim / 2;
    case Q_DIM: return c->q_dim;
    case KV_DIM: return c->kv_dim;
    case QKV_DIM: return c->q_dim + 2 * c->kv_dim;
    case Q_NORM_DIM: return whole ? c->q_dim : c->head_dim;
    case K_NORM_DIM: return whole ? c->kv_dim : c->head_dim;
    case N_FF: return c->n_ff;
    case UP_DIM: return c->fused_gate_up ? 2 * c->n_ff : c->n_ff;
    case N_EXPERTS: return c->n_experts;
    case N_FF_EXPERT: return c->n_ff_expert;
    case N_FF_SHARED: return c->n_ff_shared;
  }
  return 0;
}

typedef enum { NEVER, MAY, MUST } Presence;
static Presence may(bool condition) { return condition ? MAY : NEVER; }
static Presence must(bool condition) { return condition ? MUST : NEVER; }

static Presence presence(Slot slot) {
  const Config *c = &weights.config;
  bool dense = c->n_experts == 0, longrope = c->rope_scaling == SCALING_LONGROPE;
  if (SHAPES[slot].beside) return may(presence(slot - SHAPES[slot].beside) != NEVER);
  switch (slot) {
    case POSITION_EMBD: return must(c->positions == POSITIONS_LEARNED);
    case TOKEN_TYPES: return must(c->token_types > 0);
    case TOKEN_EMBD_NORM: return must(c->embedding_norm);
    case OUTPUT_NORM: return must(c->post_norm != POST_NORM_SUM);
    case OUTPUT: return may(c->causal);
    case CLS: return may(c->pooling == POOLING_RANK);
    case CLS_OUTPUT: return must(c->pooling == POOLING_RANK);
    case ROPE_FREQS: return may(c->positions == POSITIONS_ROPE && !longrope);
    case ROPE_FACTORS_LONG:
    case ROPE_FACTORS_SHORT: return must(c->positions == POSITIONS_ROPE && longrope);
    case ATTN_NORM: return must(c->pre_norm);
    case ATTN_NORM_2: return may(c->pre_norm && c->parallel_residual);
    case ATTN_QKV: return must(c->fused_qkv);
    case ATTN_Q:
    case ATTN_K:
    case ATTN_V: return must(!c->fused_qkv);
    case ATTN_Q_NORM:
    case ATTN_K_NORM: return must(c->qk_norm != QK_NORM_NONE);
    case ATTN_SUB_NORM:
    case FFN_SUB_NORM: return must(c->sub_norms);
    case FFN_NORM: return c->parallel_residual ? may(c->pre_norm) : must(c->pre_norm);
    case POST_ATTN_NORM:
    case POST_FFN_NORM: return must(c->post_norm == POST_NORM_BRANCH);
    case ATTN_OUTPUT_NORM:
    case LAYER_OUTPUT_NORM: return must(c->post_norm == POST_NORM_SUM);
    case FFN_GATE: return must(dense && c->gated && !c->fused_gate_up);
    case FFN_UP:
    case FFN_DOWN: return must(dense);
    case FFN_GATE_INP:
    case FFN_GATE_EXPS:
    case FFN_UP_EXPS:
    case FFN_DOWN_EXPS: return must(!dense);
    case FFN_GATE_INP_SHEXP: return may(c->n_ff_shared > 0);
    case FFN_GATE_SHEXP:
    case FFN_UP_SHEXP:
    case FFN_DOWN_SHEXP: return must(c->n_ff_shared > 0);
    default: return MUST;
  }
}

SlotRule slot_rule(Slot slot) {
  const Shape *shape = &SHAPES[slot];
  Presence p = presence(slot);
  return (SlotRule){.rows = size_of(shape->rows), .cols = size_of(shape->cols),
                    .depth = size_of(shape->depth), .matrix = shape->matrix,
                    .allowed = p != NEVER, .required = p == MUST};
}

/* Rows from `first` on of a linear layer, its bias and its factor; `first` a multiple of TILE. */
static void take_rows(const Tensor *from, uint32_t first, uint32_t rows, Tensor *to) {
  Tensor matrix = from[0], bias = from[1], scale = from[2];
  if (bias.data) bias.data += 4ull * first;
  matrix.data += first / TILE * tile_bytes(matrix.type, matrix.cols);
  matrix.rows = rows;
  to[0] = matrix;
  to[1] = bias;
  to[2] = scale;
}

/* After loading: the parts of fused matrices become tensors of their own. */
void split_fused(void) {
  const Config *c = &weights.config;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    Tensor *slots = weights.layers[i] - ATTN_NORM; /* indexed by Slot */
    if (c->fused_qkv) {
      take_rows(&slots[ATTN_QKV], 0, c->q_dim, &slots[ATTN_Q]);
      take_rows(&slots[ATTN_QKV], c->q_dim, c->kv_dim, &slots[ATTN_K]);
      take_rows(&slots[ATTN_QKV], c->q_dim + c->kv_dim, c->kv_dim, &slots[ATTN_V]);
    }
    if (c->fused_gate_up) {
      take_rows(&slots[FFN_UP], 0, c->n_ff, &slots[FFN_GATE]);
      take_rows(&slots[FFN_UP], c->n_ff, c->n_ff, &slots[FFN_UP]);
    }
  }
}
