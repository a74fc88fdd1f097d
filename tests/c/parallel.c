/* parallel.c: the parallel loop: every chunk once, workers told apart, loops inside loops, forks. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/denormals.h"
#include "graph/internal.h"
#include "tests/tap.h"

enum { CHUNKS = 200, MOST = 8 };

/* What a loop notes: how often each chunk ran, and whether a worker was in two at once. */
typedef struct notes {
  mw_context *ctx;
  int times[CHUNKS]; /* written by the chunk alone: a race if it ran twice at once */
  atomic_int busy[MOST], clashes, strangers, inner;
  int threads;
} notes;

static void note_chunk(void *arg, int64_t chunk, int worker) {
  notes *n = arg;
  if (worker < 0 || worker >= n->threads) {
    atomic_fetch_add(&n->strangers, 1);
    return;
  }
  if (atomic_fetch_add(&n->busy[worker], 1) != 0) atomic_fetch_add(&n->clashes, 1);
  n->times[chunk]++;
  for (volatile int i = 0; i < 200; i++) {
  }
  atomic_fetch_sub(&n->busy[worker], 1);
}

/* A loop over all chunks. Whether each ran once, by a worker of its own. */
static bool loop_is_right(mw_context *ctx) {
  notes n = {.ctx = ctx, .threads = mw_threads(ctx)};
  mw_host_parallel(ctx, CHUNKS, note_chunk, &n);
  bool right = !n.clashes && !n.strangers;
  for (int c = 0; c < CHUNKS; c++) right = right && n.times[c] == 1;
  return right;
}

static bool loops_are_right(mw_context *ctx, int count) {
  bool right = true;
  for (int i = 0; i < count; i++) right = right && loop_is_right(ctx);
  return right;
}

/* Whether helpers came, and whether all that came flush denormals as the thread that asked. */
typedef struct modes {
  bool flush;
  atomic_int helped, strangers;
} modes;

static void look_at_mode(void *arg, int64_t chunk, int worker) {
  modes *m = arg;
  (void)chunk;
  const mw_float_mode now = mw_denormals_flush(m->flush);
  if (mw_float_mode_now() != now) atomic_fetch_add(&m->strangers, 1);
  mw_float_mode_set(now);
  if (worker) atomic_fetch_add(&m->helped, 1);
  for (volatile int i = 0; i < 200; i++) {
  }
}

static void test_modes(mw_context *ctx) {
  int helped = 0, strangers = 0;
  const mw_float_mode before = mw_float_mode_now();
  for (int i = 0; i < 1000 && (i < 100 || !helped); i++) {
    modes m = {.flush = i % 2};
    mw_denormals_flush(m.flush);
    mw_host_parallel(ctx, CHUNKS, look_at_mode, &m);
    mw_float_mode_set(before);
    helped += m.helped;
    strangers += m.strangers;
  }
  ok(helped, "helpers had %d chunks", helped);
  is_int(strangers, 0, "and took denormals as the thread that asked, from the change on");
}

static void inner_chunk(void *arg, int64_t chunk, int worker) {
  notes *n = arg;
  (void)chunk;
  if (worker != 0) atomic_fetch_add(&n->strangers, 1);
  atomic_fetch_add(&n->inner, 1);
}

static void outer_chunk(void *arg, int64_t chunk, int worker) {
  notes *n = arg;
  (void)chunk, (void)worker;
  mw_host_parallel(n->ctx, 5, inner_chunk, n);
}

static void test_nested(mw_context *ctx) {
  notes n = {.ctx = ctx};
  mw_host_parallel(ctx, 20, outer_chunk, &n);
  is_int(n.inner, 100, "a loop inside a loop runs all of its chunks");
  is_int(n.strangers, 0, "by one worker");
  ok(loop_is_right(ctx), "and the next loop has all workers again");
}

/* Two contexts of two threads of the program, at the same time. */
static void *other_main(void *right) {
  mw_context *ctx = mw_context_new();
  mw_threads_set(ctx, 2);
  *(bool *)right = loops_are_right(ctx, 200);
  mw_context_free(ctx);
  return NULL;
}

static void test_two_contexts(mw_context *ctx) {
  pthread_t other;
  bool right = false;
  if (pthread_create(&other, NULL, other_main, &right)) return;
  const bool mine = loops_are_right(ctx, 200);
  pthread_join(other, NULL);
  ok(mine && right, "two contexts, used by two threads at once");
}

/* The threads that wait are not there in a forked process. */
static void test_fork(mw_context *ctx) {
  int status = -1;
  loop_is_right(ctx);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    bool right = loops_are_right(ctx, 20);
    mw_context_free(ctx);
    _exit(right ? 0 : 1);
  }
  if (child > 0) waitpid(child, &status, 0);
  ok(child > 0 && status == 0, "loops in a forked process");
  ok(loop_is_right(ctx), "and in the one that forked");
}

/* One whose threads never worked, and one that is asleep by now. */
static void test_end(void) {
  mw_context *ctx = mw_context_new();
  mw_threads_set(ctx, 4);
  mw_context_free(ctx);
  ctx = mw_context_new();
  mw_threads_set(ctx, 4);
  bool right = loop_is_right(ctx);
  usleep(5000);
  right = right && loop_is_right(ctx);
  usleep(5000);
  mw_context_free(ctx);
  ok(right, "threads that sleep are woken, to work and to end");
}

int main(void) {
  mw_context *ctx = mw_context_new();
  if (!ok(ctx, "a context")) return done();
  for (int threads = 1; threads <= MOST; threads++) {
    mw_threads_set(ctx, threads);
    ok(loops_are_right(ctx, 100), "%d threads: every chunk once, each worker in one at a time",
       threads);
  }
  mw_threads_set(ctx, 3);
  notes none = {.threads = 3};
  mw_host_parallel(ctx, 0, note_chunk, &none);
  ok(loop_is_right(ctx), "a loop over nothing, and one after it");
  test_modes(ctx);
  test_nested(ctx);
  test_two_contexts(ctx);
#if !defined __SANITIZE_THREAD__ /* it cannot follow threads that a forked process starts */
  test_fork(ctx);
#endif
  test_end();
  mw_context_free(ctx);
  return done();
}
