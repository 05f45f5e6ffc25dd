/* Threads: worker instances of this module on one shared memory, a barrier, shares of tasks. */
#include "kernel.h"

#define SPINS 20000
#define SLICE_NS 100000000 /* 0.1 s */
#define PATIENCE 100       /* slices without any progress before a thread is taken for dead */

#ifdef __wasm64__
__asm__(".globaltype __stack_pointer, i64\n");
#else
__asm__(".globaltype __stack_pointer, i32\n");
#endif

/* A word on a cache line of its own, so that who waits for it is not disturbed by other words. */
typedef struct {
  _Alignas(128) _Atomic uint32_t n;
} Word;

static Word arrived;    /* at the barrier */
static Word generation; /* of the barrier: changes when all have arrived */
static Word sleepers;   /* threads in, or about to enter, a wait */
static Word job;        /* changes when there is work for the workers */
static Word taken[MAX_THREADS]; /* of each thread's share of the tasks of this phase */
static _Atomic uint32_t closing, aborted;

/* Which thread this instance is: a WebAssembly global, for instances share memory but not globals. */
__asm__(".globaltype this_thread, i32\nthis_thread:\n");

static inline uint32_t this_thread(void) {
  uint32_t thread;
  __asm__ volatile("global.get this_thread\n local.set %0" : "=r"(thread));
  return thread;
}

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

/* The job changes too, so that a worker that has seen the flag unset does not begin to wait after all. */
static void wake_all(_Atomic uint32_t *flag) {
  *flag = 1;
  job.n++;
  __builtin_wasm_memory_atomic_notify((int *)&generation.n, MAX_THREADS);
  __builtin_wasm_memory_atomic_notify((int *)&job.n, MAX_THREADS);
}

static void wait_for_job(uint32_t seen) {
  if (!spin_while(&job.n, seen)) return;
  sleepers.n++;
  while (job.n == seen && !aborted && !closing)
    sleep_at(&job.n, seen, -1);
  sleepers.n--;
}

/* Changes whenever a thread takes a task or arrives. */
static uint32_t progress(void) {
  uint32_t sum = arrived.n;
  for (uint32_t i = 0; i < state.n_threads; i++) sum += taken[i].n;
  return sum;
}

/* A browser may end a worker without a word, and then no barrier would ever open. A tab that was
 * frozen for an hour has lost one slice of patience: its threads are frozen together. */
static void wait_for_others(uint32_t now) {
  if (!spin_while(&generation.n, now)) return;
  sleepers.n++;
  uint32_t seen = progress(), patience = PATIENCE;
  while (generation.n == now && !aborted && !closing) {
    bool late = sleep_at(&generation.n, now, SLICE_NS);
    bool moved = progress() != seen;
    seen = progress();
    if (moved) patience = PATIENCE;
    if (late && !moved && --patience == 0) wake_all(&aborted);
  }
  sleepers.n--;
}

static void change(_Atomic uint32_t *word) {
  (*word)++;
  if (sleepers.n) __builtin_wasm_memory_atomic_notify((int *)word, MAX_THREADS);
}

static void offer_tasks(void) {
  for (uint32_t i = 0; i < state.n_threads; i++) taken[i].n = 0;
}

void threads_reset(void) {
  arrived.n = aborted = 0;
  offer_tasks();
}

/* All threads meet here; the last one to come opens the next phase. */
bool barrier(void) {
  if (state.n_threads == 1) {
    offer_tasks();
    return true;
  }
  uint32_t now = generation.n;
  if (++arrived.n == state.n_threads) {
    arrived.n = 0;
    offer_tasks();
    change(&generation.n);
  } else {
    wait_for_others(now);
  }
  return !aborted;
}

/* The next of `count` tasks of this phase, or `count` when none is left. A thread goes through a
 * share of its own, tasks side by side, because what lies side by side in memory is read faster by
 * one core than by two in turns. Then it takes what others have left of theirs. */
uint32_t next_task(uint32_t count) {
  uint32_t share = (count + state.n_threads - 1) / state.n_threads, owner = this_thread();
  for (uint32_t i = 0; i < state.n_threads; i++) {
    uint32_t first = min_u32(owner * share, count), n = min_u32(share, count - first);
    if (taken[owner].n < n) {
      uint32_t task = taken[owner].n++;
      if (task < n) return first + task;
    }
    if (++owner == state.n_threads) owner = 0;
  }
  return count;
}

int32_t run_forward(void) {
  if (state.n_threads > 1) {
    if (aborted) return ERROR_ABORTED;
    change(&job.n);
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
  __asm__ volatile("local.get %0\n global.set this_thread" ::"r"(thread));
  return worker_loop(thread);
}

/* Called on any instance by a host whose thread has failed: the others stop waiting for it. */
EXPORT(mlr_abort) void mlr_abort(void) { wake_all(&aborted); }

/* Ends the workers. */
EXPORT(mlr_close) void mlr_close(void) { wake_all(&closing); }
