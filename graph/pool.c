/* pool.c: threads that wait to help with a piece of work: for a short time in a loop, as the next
 * piece mostly comes soon, and then asleep in the kernel.
 *
 * The thread that asks never waits for one that has not come: it opens the work, does it, closes it,
 * and waits for those that are inside. So on processors that others keep busy, where a helper may
 * get its turn much later, work takes no longer than on one thread. */
#define _GNU_SOURCE /* syscall */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "denormals.h"
#include "pool.h"

/* The state of a pool's work: whether it is open, whether the thread that asked sleeps until all
 * have left, and how many are inside. */
enum { OPEN = 1, AWAITED = 2, INSIDE = 4 };

/* How long a thread looks for work, or for the end of it, before it goes to sleep: longer than what
 * lies between two kernels of a step, and no longer than waking up a few times costs. */
#define PATIENCE 100000 /* nanoseconds */

typedef struct helper {
  mw_pool *pool;
  pthread_t thread;
  int worker;
  unsigned round; /* when it was started */
} helper;

struct mw_pool {
  int helpers, started;
  unsigned forks; /* of this process, when the threads were started */
  bool patient;   /* there is a processor for each thread */
  helper *helper;
  mw_work work;
  void *arg;
  mw_float_mode mode;            /* of the thread that asks: the work is the same whoever does it */
  alignas(64) atomic_uint round; /* grows when there is work, and at the end */
  atomic_uint sleepers;
  atomic_bool over;
  alignas(64) atomic_uint state;
};

/* ---- waiting ------------------------------------------------------------------------------- */

static void sleep_while(atomic_uint *word, unsigned value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(atomic_uint *word, int threads) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void relax(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#elif defined __aarch64__
  __asm__ volatile("isb");
#endif
}

/* A wait that has just begun is all zeros. */
typedef struct wait {
  int64_t end;
  int turns;
} wait;

/* A moment of a wait. False once patience is at its end; the clock is asked now and then only. */
static bool linger(const mw_pool *pool, wait *w) {
  if (!pool->patient) return false;
  relax();
  if (w->turns++ % 32) return true;
  const int64_t time = now();
  if (!w->end) w->end = time + PATIENCE;
  return time < w->end;
}

/* ---- a helper ------------------------------------------------------------------------------ */

static void await_round(mw_pool *pool, unsigned round) {
  for (wait w = {0}; atomic_load(&pool->round) == round;) {
    if (linger(pool, &w)) continue;
    atomic_fetch_add(&pool->sleepers, 1);
    sleep_while(&pool->round, round);
    atomic_fetch_sub(&pool->sleepers, 1);
  }
}

/* Goes in if the work is still open. The last to leave wakes the thread that waits for it. */
static void help(mw_pool *pool, int worker) {
  if (!(atomic_load(&pool->state) & OPEN)) return;
  if (atomic_fetch_add(&pool->state, INSIDE) & OPEN) {
    mw_float_mode_set(pool->mode);
    pool->work(pool->arg, worker);
  }
  if (atomic_fetch_sub(&pool->state, INSIDE) == (INSIDE | AWAITED)) wake(&pool->state, 1);
}

static void *helper_main(void *arg) {
  const helper *me = arg;
  for (unsigned round = me->round; !atomic_load(&me->pool->over);) {
    help(me->pool, me->worker);
    await_round(me->pool, round);
    round = atomic_load(&me->pool->round);
  }
  return NULL;
}

/* ---- starting and ending ------------------------------------------------------------------- */

/* A forked process has none of its parent's threads but the one that forked. */
static atomic_uint forks;

static void count_fork(void) { atomic_fetch_add(&forks, 1); }

static void expect_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

mw_pool *mw_pool_new(int helpers) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, expect_forks);
  mw_pool *pool = aligned_alloc(alignof(mw_pool), sizeof *pool);
  helper *all = calloc((size_t)helpers + 1, sizeof *all);
  if (!pool || !all) {
    free(pool);
    free(all);
    return NULL;
  }
  *pool = (mw_pool){.helpers = helpers, .helper = all};
  return pool;
}

/* Starts one more. Signals are for the program's own threads. */
static bool start_helper(mw_pool *pool) {
  helper *it = &pool->helper[pool->started];
  it->pool = pool;
  it->worker = pool->started + 1;
  it->round = atomic_load(&pool->round);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const bool started = !pthread_create(&it->thread, NULL, helper_main, it);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pool->started += started;
  return started;
}

/* As many as there are to be, or as the system lets there be. */
static void start(mw_pool *pool, int helpers) {
  if (pool->forks != atomic_load(&forks)) {
    atomic_store(&pool->state, 0);
    atomic_store(&pool->sleepers, 0);
    pool->started = 0;
  }
  if (!pool->started) {
    pool->forks = atomic_load(&forks);
    pool->patient = pool->helpers < mw_processors();
  }
  while (pool->started < helpers && start_helper(pool)) {
  }
}

void mw_pool_free(mw_pool *pool) {
  if (!pool) return;
  atomic_store(&pool->over, true);
  atomic_fetch_add(&pool->round, 1);
  wake(&pool->round, INT_MAX);
  for (int i = 0; i < pool->started && pool->forks == atomic_load(&forks); i++)
    pthread_join(pool->helper[i].thread, NULL);
  free(pool->helper);
  free(pool);
}

/* ---- working ------------------------------------------------------------------------------- */

/* Closes the work and waits until all have left. */
static void finish(mw_pool *pool) {
  unsigned state;
  atomic_fetch_and(&pool->state, ~(unsigned)OPEN);
  for (wait w = {0}; (state = atomic_load(&pool->state)) & ~(unsigned)AWAITED;) {
    if (linger(pool, &w)) continue;
    state = atomic_fetch_or(&pool->state, AWAITED) | AWAITED;
    if (state != AWAITED) sleep_while(&pool->state, state);
  }
  if (state == AWAITED) atomic_fetch_and(&pool->state, ~(unsigned)AWAITED);
}

void mw_pool_run(mw_pool *pool, int helpers, mw_work work, void *arg) {
  if (helpers > pool->helpers) helpers = pool->helpers;
  if (helpers > pool->started || pool->forks != atomic_load(&forks)) start(pool, helpers);
  pool->work = work;
  pool->arg = arg;
  pool->mode = mw_float_mode_now();
  atomic_fetch_or(&pool->state, OPEN);
  atomic_fetch_add(&pool->round, 1);
  if (atomic_load(&pool->sleepers) > 0) wake(&pool->round, helpers);
  work(arg, 0);
  finish(pool);
}
