/* Shared by attention.c and the layout of its scratch in open.c. */
#ifndef MLR_ATTENTION_H
#define MLR_ATTENTION_H
enum { HEADS_PER_TASK = 2 };
#endif
