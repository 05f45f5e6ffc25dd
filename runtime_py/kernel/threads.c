/* Threads: worker instances of this module on one shared memory, a barrier and a task counter. */
#include "kernel.h"

#define SPINS 20000
#define SLICE_NS 100000000 /* 0.1 s */
#define PATIENCE 100       /* slices without any progress before a thread is taken for dead */

#ifdef __wasm64__
__asm__(".globaltype __stack_pointer, i64\n");
#else
__asm__(".globaltype __stack_pointer, i32\n");
#endif

static _Atomic uint32_t arrived;    /* at the barrier */
static _Atomic uint32_t generation; /* of the barrier: changes when all have arrived */
static _Atomic uint32_t sleepers;   /* threads in, or about to enter, a wait */
static _Atomic uint32_t tasks;      /* taken so far in this phase */
static _Atomic uint32_t job;        /* changes when there is work for the workers */
static _Atomic uint32_t closing, aborted;

/* True when the time is over. A function of its own: the baseline code of V8 11 (Node 20) loses
 * values that its caller has in registers, and then a barrier is passed too early. */
static __attribute__((noinline)) bool sleep_at(_Atomic uint32_t *word, uint32_t value, int64_t ns) {
  return __builtin_wasm_memory_atomic_wait32((int *)word, (int)value, ns) == 2;
}

static bool spin_while(_Atomic uint32_t *word, uint32_t value) {
  for (uint32_t i = 0; i < SPINS; i++)
    if (*word != value) return false;
  return true;
}

static void wake_all(_Atomic uint32_t *flag) {
  *flag = 1;
  __builtin_wasm_memory_atomic_notify((int *)&generation, MAX_THREADS);
  __builtin_wasm_memory_atomic_notify((int *)&job, MAX_THREADS);
}

static void wait_for_job(uint32_t seen) {
  if (!spin_while(&job, seen)) return;
  sleepers++;
  while (job == seen && !aborted && !closing)
    sleep_at(&job, seen, -1);
  sleepers--;
}

/* A browser may end a worker without a word, and then no barrier would ever open. A tab that was
 * frozen for an hour has lost one slice of patience: its threads are frozen together. */
static void wait_for_others(uint32_t now) {
  if (!spin_while(&generation, now)) return;
  sleepers++;
  uint32_t seen = tasks + arrived, patience = PATIENCE;
  while (generation == now && !aborted && !closing) {
    bool late = sleep_at(&generation, now, SLICE_NS);
    bool moved = tasks + arrived != seen;
    seen = tasks + arrived;
    if (moved) patience = PATIENCE;
    if (late && !moved && --patience == 0) wake_all(&aborted);
  }
  sleepers--;
}

static void change(_Atomic uint32_t *word) {
  (*word)++;
  if (sleepers) __builtin_wasm_memory_atomic_notify((int *)word, MAX_THREADS);
}

void threads_reset(void) { arrived = tasks = aborted = 0; }

/* All threads meet here; the last one to come opens the next phase. */
bool barrier(void) {
  if (state.n_threads == 1) {
    tasks = 0;
    return true;
  }
  uint32_t now = generation;
  if (++arrived == state.n_threads) {
    arrived = 0;
    tasks = 0;
    change(&generation);
  } else {
    wait_for_others(now);
  }
  return !aborted;
}

/* The next of `count` tasks of this phase, or `count` when none is left. */
uint32_t next_task(uint32_t count) {
  if (tasks >= count) return count;
  return min_u32(tasks++, count);
}

int32_t run_forward(void) {
  if (state.n_threads > 1) {
    if (aborted) return ERROR_ABORTED;
    change(&job);
  }
  forward(0);
  return aborted ? ERROR_ABORTED : OK;
}

static __attribute__((noinline)) int32_t worker_loop(uint32_t thread) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_job(seen);
    if (closing) return OK;
    if (aborted) return ERROR_ABORTED;
    seen++;
    forward(thread);
  }
}

/* Serves as thread `thread` (from 1 on) until `mlr_close`. Instances on one memory start with the
 * same stack pointer, so the first thing is to move to a stack of its own. */
EXPORT(mlr_worker) int32_t mlr_worker(uint32_t thread) {
  if (thread == 0 || thread >= state.n_threads) return ERROR_ARGUMENT;
  uint8_t *stack = state.stacks + (uint64_t)thread * STACK_BYTES; /* the end of stack thread - 1 */
  __asm__ volatile("local.get %0\n global.set __stack_pointer" ::"r"(stack));
  return worker_loop(thread);
}

/* Called on any instance by a host whose thread has failed: the others stop waiting for it. */
EXPORT(mlr_abort) void mlr_abort(void) { wake_all(&aborted); }

/* Ends the workers. */
EXPORT(mlr_close) void mlr_close(void) { wake_all(&closing); }
