/* What a model is, as numbers: the fields of the descriptor, in its order, with their ranges.
 *
 * The meaning of each is in `formats/model_config.py`. From this one list come the struct, the
 * reader in open.c and its checks. WHOLE are integers, enumerations and booleans.
 */
#ifndef MLR_CONFIG_H
#define MLR_CONFIG_H

#include <stdint.h>

enum { MAX_LAYERS = 256, MAX_WIDTH = 1 << 20, MAX_CONTEXT = 1 << 24, MAX_EXPERTS = 512, MAX_EXPERTS_USED = 32 };

enum { NORM_RMS, NORM_LAYER, N_NORMS };
enum { POST_NORM_NONE, POST_NORM_BRANCH, POST_NORM_SUM, N_POST_NORMS };
enum { QK_NORM_NONE, QK_NORM_HEAD, QK_NORM_FULL, N_QK_NORMS };
enum { POSITIONS_ROPE, POSITIONS_LEARNED, POSITIONS_ALIBI, POSITIONS_NONE, N_POSITIONS };
enum { ROPE_INTERLEAVED, ROPE_HALF, N_ROPE_STYLES };
enum { SCALING_NONE, SCALING_LINEAR, SCALING_YARN, SCALING_LONGROPE, N_SCALINGS };
typedef enum { SILU, GELU, GELU_ERF, RELU, RELU_SQUARED, N_ACTIVATIONS } Activation;
enum { POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK, N_POOLINGS };

#define CONFIG_FIELDS(WHOLE, REAL)               \
  WHOLE(n_layers, 1, MAX_LAYERS)                 \
  WHOLE(n_embd, 4, MAX_WIDTH)                    \
  WHOLE(n_ff, 0, MAX_WIDTH)                      \
  WHOLE(n_heads, 1, 4096)                        \
  WHOLE(n_kv_heads, 1, 4096)                     \
  WHOLE(head_dim, 4, 4096)                       \
  WHOLE(n_vocab, 1, 1 << 22)                     \
  WHOLE(context_length, 1, MAX_CONTEXT)          \
  WHOLE(norm, 0, N_NORMS - 1)                    \
  REAL(norm_epsilon, 0.0, 1.0)                   \
  WHOLE(pre_norm, 0, 1)                          \
  WHOLE(post_norm, 0, N_POST_NORMS - 1)          \
  WHOLE(parallel_residual, 0, 1)                 \
  WHOLE(qk_norm, 0, N_QK_NORMS - 1)              \
  WHOLE(positions, 0, N_POSITIONS - 1)           \
  WHOLE(rope_dim, 0, 4096)                       \
  WHOLE(rope_style, 0, N_ROPE_STYLES - 1)        \
  REAL(rope_theta, 1.0, 1e12)                    \
  REAL(rope_theta_local, 1.0, 1e12)              \
  REAL(rope_scale, 1e-6, 1.0)                    \
  WHOLE(rope_scaling, 0, N_SCALINGS - 1)         \
  WHOLE(rope_original_context, 0, MAX_CONTEXT)   \
  REAL(rope_attention_factor, 1e-3, 1e3)         \
  REAL(rope_extension, 0.0, 1.0)                 \
  REAL(rope_beta_fast, 1e-3, 1e6)                \
  REAL(rope_beta_slow, 1e-3, 1e6)                \
  WHOLE(rope_skip, 0, 512)                       \
  REAL(alibi_max_bias, 0.0, 1e3)                 \
  WHOLE(sliding_window, 0, MAX_CONTEXT)          \
  WHOLE(sliding_pattern, 0, 513)                 \
  WHOLE(activation, 0, N_ACTIVATIONS - 1)        \
  WHOLE(gated, 0, 1)                             \
  WHOLE(fused_qkv, 0, 1)                         \
  WHOLE(fused_gate_up, 0, 1)                     \
  WHOLE(sub_norms, 0, 1)                         \
  WHOLE(n_experts, 0, MAX_EXPERTS)               \
  WHOLE(n_experts_used, 0, MAX_EXPERTS_USED)     \
  WHOLE(n_ff_expert, 0, MAX_WIDTH)               \
  WHOLE(n_ff_shared, 0, MAX_WIDTH)               \
  WHOLE(expert_weights_norm, 0, 1)               \
  REAL(expert_weights_scale, 1e-6, 1e6)          \
  REAL(embedding_scale, 1e-6, 1e6)               \
  REAL(residual_scale, 1e-6, 1e6)                \
  REAL(logit_scale, 1e-6, 1e6)                   \
  REAL(attention_scale, 1e-6, 1e6)               \
  REAL(attention_softcap, 0.0, 1e6)              \
  REAL(final_softcap, 0.0, 1e6)                  \
  WHOLE(embedding_norm, 0, 1)                    \
  WHOLE(token_types, 0, 1 << 16)                 \
  WHOLE(causal, 0, 1)                            \
  WHOLE(pooling, 0, N_POOLINGS - 1)              \
  WHOLE(normalize_embeddings, 0, 1)

typedef struct {
#define WHOLE(name, low, high) uint32_t name;
#define REAL(name, low, high) double name;
  CONFIG_FIELDS(WHOLE, REAL)
#undef WHOLE
#undef REAL
  /* derived */
  uint32_t q_dim;  /* n_heads * head_dim */
  uint32_t kv_dim; /* n_kv_heads * head_dim */
} Config;

#endif
