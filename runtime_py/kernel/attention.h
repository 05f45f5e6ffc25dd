/* What attention is divided into: a head's row in 16 bits, the rows of a task, a block of positions. */
#ifndef MLR_ATTENTION_H
#define MLR_ATTENTION_H

#include "numeric.h"

/* heads.c */
uint16_t round_key(const float *x, int16_t *out);
uint16_t round_value(const float *x, int16_t *out);
float head_scale(uint16_t scale);
v128_t head_scales(v128_t scales);
float key_scale(float norm);
float value_scale(float largest);

#define UNSEEN (-__builtin_inff()) /* a score */

enum {
  ROWS = 64,  /* of a task */
  BLOCK = 64, /* positions between two looks at the largest score */
  CELLS = 16, /* keys at a time: a part of a block that fits the first-level cache */
};

/* Keys or values of a block. */
typedef struct {
  const int16_t *rows[BLOCK];
  float scales[BLOCK];
} Cell16;

/* The rows of a task, and how far each has come. */
typedef struct {
  uint32_t n;
  const int16_t *q[ROWS]; /* (head_width) */
  float q_scale[ROWS];
  float *out[ROWS];     /* (head_dim) the weighted values so far */
  uint32_t from[ROWS], to[ROWS]; /* the positions it sees: from..to-1 */
  float at[ROWS], slope[ROWS]; /* its position; what each position's distance takes off (ALiBi) */
  float largest[ROWS], sum[ROWS];
  float *scores; /* (ROWS, BLOCK) of the block under way, later the weights */
  float step[ROWS]; /* what 1 of an integer weight is, of the block under way */
} Rows;

/* cache.c */
void read_cells(const LayerCache *cache, bool keys, uint32_t sequence, uint32_t position, uint32_t count,
                uint32_t kv_head, uint32_t column, uint32_t columns, int16_t *room, Cell16 *out);

/* blocks.c; `room` holds 2 BLOCK rows of head_width integers. */
uint32_t end_in_block(const Rows *rows, uint32_t start, uint32_t *first);
void score_cells(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                 uint32_t count, int16_t *room);
void score_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
                 int16_t *room);
void mix_block(Rows *rows, uint32_t layer, uint32_t sequence, uint32_t kv_head, uint32_t start,
               uint32_t column, uint32_t columns, int16_t *room);

#endif
