/* allocation.c: what happens when memory is short. Each allocation that a piece of work makes fails
 * in turn, alone and with all that follow: the work must report an error, or not need it, give back
 * all that it took, and succeed when it is done again. The linker puts the functions below in the
 * place of malloc() and its kin. */
#include <stdlib.h>
#include <unistd.h>

#include "plugins/plugin.h"
#include "tests/tap.h"
#include "tests/c/testops.h"

/* ---- the allocator --------------------------------------------------------------------------- */

static int64_t live;      /* blocks */
static int64_t countdown; /* allocations until one fails; 0: none does */
static bool for_ever;     /* all after that one fail too */
static bool failed;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
FILE *__real_open_memstream(char **text, size_t *size);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
FILE *__wrap_open_memstream(char **text, size_t *size);
void __wrap_free(void *block);

static bool is_short(void) {
  if (failed && for_ever) return true;
  if (!countdown || --countdown) return false;
  return failed = true;
}

static void *counted(void *block) {
  live += block != NULL;
  return block;
}

void *__wrap_malloc(size_t bytes) { return is_short() ? NULL : counted(__real_malloc(bytes)); }
void *__wrap_calloc(size_t n, size_t bytes) {
  return is_short() ? NULL : counted(__real_calloc(n, bytes));
}
void *__wrap_realloc(void *block, size_t bytes) {
  if (is_short()) return NULL;
  void *grown = __real_realloc(block, bytes);
  live += grown && !block;
  return grown;
}
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  return is_short() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}
char *__wrap_strdup(const char *text) { return is_short() ? NULL : counted(__real_strdup(text)); }
/* The text is a block that libc allocates and whoever asked for it frees. */
FILE *__wrap_open_memstream(char **text, size_t *size) {
  return is_short() ? NULL : counted(__real_open_memstream(text, size));
}
void __wrap_free(void *block) {
  live -= block != NULL;
  __real_free(block);
}

/* ---- pieces of work: true when all of it was done -------------------------------------------- */

typedef struct work {
  const char *name;
  bool (*run)(mw_context *ctx);
} work;

/* y, and its derivatives of all orders up to the n-th, computed; y's reference is taken. */
static bool derive_and_run(mw_context *ctx, mw_tensor *y, mw_tensor *x, int n) {
  mw_tensor *d[5] = {y}, *sum = NULL;
  int have = 0;
  bool good = y != NULL;
  for (; good && have < n; have++) {
    sum = mw_apply(ctx, "sum", 1, &d[have], 0, NULL);
    good = sum && !mw_grad(ctx, sum, NULL, 1, &x, &d[have + 1]);
    mw_release(sum);
    if (!good) break;
  }
  if (y) good = good && !mw_eval(ctx, have + 1, d);
  for (int i = 0; y && i <= have; i++) mw_release(d[i]);
  return good;
}

/* A composition, whose ops have formulas as derivatives, differentiated twice. */
static bool run_formulas(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 3, (double[]){0.5, -1, 2});
  bool good = x && derive_and_run(ctx, apply1(ctx, "silu", x), x, 2) &&
              derive_and_run(ctx, apply1(ctx, "tanh", x), x, 2) &&
              derive_and_run(ctx, apply1(ctx, "t_swish", x), x, 2);
  mw_release(x);
  return good;
}

/* Linear by kernels: each further derivative is the op again, on what arrives. */
static bool run_linear(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 4, (double[]){0.5, -1, 2, 3});
  mw_tensor *y = x ? apply1(ctx, "cumsum", x) : NULL, *z = y ? apply2(ctx, "mul", y, y) : NULL;
  bool good = z && derive_and_run(ctx, z, x, 3);
  mw_release(y);
  mw_release(x);
  return good;
}

static bool run_origins(mw_context *ctx) {
  char text[32];
  for (int i = 0; i < 100; i++) {
    snprintf(text, sizeof text, "net.lua:%d", i);
    const char *origin = mw_origin(ctx, text); /* "" when it cannot be kept */
    if (!origin || (*origin && strcmp(origin, text) != 0)) return false;
    mw_origin_set(ctx, origin);
  }
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *y = x ? apply1(ctx, "relu", x) : NULL;
  mw_origin_set(ctx, NULL);
  mw_release(y);
  mw_release(x);
  return y;
}

/* An error whose message looks for a repair; what is there when it is found is an error too. */
static bool run_repair(mw_context *ctx) {
  mw_spec image = mw_spec_of(MW_F64, 4, (int64_t[]){1, 1, 8, 8}),
          kernel = mw_spec_of(MW_F64, 4, (int64_t[]){2, 1, 3, 3}),
          matrix = mw_spec_of(MW_F64, 2, (int64_t[]){3, 50});
  mw_tensor *x = mw_constant(ctx, &image, NULL), *w = mw_parameter(ctx, &kernel, NULL, "w"),
            *m = mw_parameter(ctx, &matrix, NULL, "m"), *y = NULL, *flat = NULL, *z = NULL;
  mw_setting shape = mw_list("shape", 2, (int64_t[]){1, -1});
  if (x && w && m) y = apply2(ctx, "conv2d", x, w);
  if (y) flat = mw_apply(ctx, "reshape", 1, &y, 1, &shape);
  if (flat) z = apply2(ctx, "dense", flat, m);
  bool good = flat && !z && strstr(mw_error(ctx), "x has 72 columns");
  mw_tensor *all[] = {x, w, m, y, flat, z};
  for (int i = 0; i < 6; i++) mw_release(all[i]);
  return good;
}

/* sin(checkpoint(exp(x sin(x)))), with a checkpoint inside of the checkpoint. */
static bool run_checkpoint(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 3, (double[]){0.5, -1, 2}), *t[6] = {NULL};
  uint64_t outer = mw_checkpoint_begin(ctx);
  if (x) t[0] = apply1(ctx, "sin", x);
  uint64_t inner = mw_checkpoint_begin(ctx);
  if (t[0]) t[1] = apply2(ctx, "mul", x, t[0]);
  if (t[1]) t[2] = mw_checkpoint(ctx, inner, t[1]);
  if (t[2]) t[3] = apply1(ctx, "exp", t[2]);
  if (t[3]) t[4] = mw_checkpoint(ctx, outer, t[3]);
  if (t[4]) t[5] = apply1(ctx, "sin", t[4]);
  bool good = t[5] && derive_and_run(ctx, mw_retain(t[5]), x, 2);
  for (int i = 0; i < 6; i++) mw_release(t[i]);
  mw_release(x);
  return good;
}

/* A hook that computes something itself: a run inside of a run. */
typedef struct watcher {
  mw_context *ctx;
  int calls, dropped;
} watcher;

static mw_status on_value(void *state, bool gradient, const mw_spec *spec, void *bytes,
                          char message[MW_HOOK_TEXT]) {
  watcher *w = state;
  w->calls += !gradient;
  mw_tensor *x = mw_constant(w->ctx, spec, bytes), *y = x ? apply1(w->ctx, "exp", x) : NULL;
  mw_status status = y && !mw_eval(w->ctx, 1, &y) ? MW_OK : MW_FAILED;
  if (status) snprintf(message, MW_HOOK_TEXT, "%s", mw_error(w->ctx));
  mw_release(y);
  mw_release(x);
  return status;
}
static void on_drop(void *state) { ((watcher *)state)->dropped++; }

static bool run_hooks(mw_context *ctx) {
  watcher w = {.ctx = ctx};
  mw_hook hook = {.call = on_value, .drop = on_drop, .state = &w};
  mw_tensor *x = vector(ctx, 3, (double[]){0.5, -1, 2}), *leaf = mw_hook_leaf(ctx, &hook);
  bool hooked = leaf != NULL;
  mw_tensor *y = x && leaf ? apply2(ctx, "hooked", x, leaf) : NULL;
  mw_tensor *z = y ? apply2(ctx, "mul", y, x) : NULL;
  mw_release(leaf);
  bool good = z && derive_and_run(ctx, z, x, 1) && w.calls;
  mw_release(y);
  mw_release(x);
  if (w.dropped != hooked) printf("# the hook was dropped %d times\n", w.dropped);
  return good && w.dropped == hooked;
}

/* Keys that ops draw themselves, one that is given, and a program with its own. */
static bool run_random(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 8, (double[8]){0}), *key = mw_random_key(ctx, 8), *result = NULL;
  mw_setting shape = mw_list("shape", 1, (int64_t[]){5});
  mw_tensor *a = x ? apply1(ctx, "dropout", x) : NULL;
  mw_tensor *b = x && key ? apply2(ctx, "dropout", x, key) : NULL;
  mw_tensor *c = mw_apply(ctx, "random_normal", 0, NULL, 1, &shape), *all[] = {a, b, c, x, key};
  bool good = a && b && c && !mw_eval(ctx, 3, all);
  mw_tensor *again = good ? apply1(ctx, "dropout", x) : NULL;
  mw_program *p = again ? mw_program_new(ctx, 1, &again, 0, NULL, NULL) : NULL;
  good = p && !mw_program_run(p, &result);
  mw_release(result);
  mw_release(again);
  mw_program_free(p);
  for (int i = 0; i < 5; i++) mw_release(all[i]);
  return good;
}

/* A step of training under watch: two parameters get new values in the program that runs. */
static bool run_update(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){3});
  mw_tensor *w[2] = {mw_parameter(ctx, &spec, (double[]){1, 2, 3}, "w"),
                     mw_parameter(ctx, &spec, (double[]){4, 5, 6}, "v")};
  mw_tensor *y = w[0] && w[1] ? apply2(ctx, "mul", w[0], w[1]) : NULL, *dw[2] = {NULL};
  mw_watch(ctx, true);
  bool good = y && !mw_grad(ctx, y, w[0], 2, w, dw) && !mw_update(ctx, 1, &y, 2, w, dw);
  mw_watch(ctx, false);
  mw_tensor *all[] = {w[0], w[1], y, dw[0], dw[1]};
  for (int i = 0; i < 5; i++) mw_release(all[i]);
  return good;
}

/* Two steps by one recipe: the first is built, the second found, unless memory was short. */
static bool run_recipe(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){3});
  mw_tensor *w = mw_parameter(ctx, &spec, (double[]){1, 2, 3}, "w");
  bool good = w != NULL, done = false;
  for (int i = 0; i < 2 && good; i++) {
    mw_tensor *y = apply1(ctx, "t_cube", w), *loss = y ? apply1(ctx, "sum", y) : NULL, *dw = NULL;
    mw_recipe step = {.rule = "set", .n = 1, .n_differentiated = 1, .tensors = &loss};
    step.n_operands = 1, step.operands = &w;
    good = loss && !mw_update_again(ctx, &step, &done);
    if (good && !done)
      good = !mw_grad(ctx, loss, NULL, 1, &w, &dw) && !mw_update_derived(ctx, &step, 1, &w, &dw);
    mw_release(dw);
    mw_release(loss);
    mw_release(y);
  }
  mw_release(w);
  mw_cache_clear(ctx); /* it keeps a constant */
  return good;
}

static int held; /* by the registry */
static void on_release(void *owned) { --*(int *)owned; }

/* An op made while the program runs, and one of a shipped op's name, which is refused. */
static bool run_plugin(mw_context *ctx) {
  mw_op op = {.name = "t_made",
              .version = 1,
              .doc = "x^4",
              .example = "none",
              .inputs = {{"x"}},
              .outputs = {{"y"}},
              .formula = "square(square(x))"};
  if (!mw_op_find(ctx, "t_made")) {
    if (mw_plugin_add(ctx, "tests", &op, &held, on_release)) return false;
    held++;
  }
  mw_op shipped = op;
  shipped.name = "add";
  bool again = !mw_plugin_add(ctx, "tests", &shipped, NULL, on_release);
  mw_tensor *x = vector(ctx, 1, (double[]){2}), *y = x ? apply1(ctx, "t_made", x) : NULL;
  bool good = !again && y && !mw_eval(ctx, 1, &y);
  mw_release(y);
  mw_release(x);
  return good;
}

/* Puts what a plugin brings in the place of another, or of nothing; takes that out without an op. */
static mw_status put_in_place(mw_context *ctx, mw_plugin *old, const mw_op *op) {
  mw_plugin *plugin = mw_plugin_begin(ctx, "overriding", NULL, NULL);
  if (!plugin) return MW_FAILED;
  plugin->replaces = old;
  plugin->overrides = true;
  plugin->retired = !op;
  if (op && mw_host_register_op(plugin, op, sizeof *op, MW_F64)) return mw_plugin_abort(plugin), 1;
  return mw_plugin_commit(plugin) ? (mw_plugin_abort(plugin), MW_FAILED) : MW_OK;
}

/* A shipped op is overridden, the one in its place is replaced, and the shipped one comes back. */
static bool run_override(mw_context *ctx) {
  const mw_op_entry *there = mw_registry_find(ctx, "softmax");
  mw_op op = there->op;
  op.version = 7;
  for (int step = 0; step < 2; step++) {
    if (put_in_place(ctx, there->plugin == ctx->shipped ? NULL : there->plugin, &op)) return false;
    there = mw_registry_find(ctx, "softmax");
    if (there->op.version != 7 || there->n_kernels < 1) return false;
  }
  if (put_in_place(ctx, there->plugin, NULL)) return false;
  there = mw_registry_find(ctx, "softmax");
  mw_tensor *x = vector(ctx, 2, (double[]){1, 1}), *y = x ? apply1(ctx, "softmax", x) : NULL;
  const bool good = there->plugin == ctx->shipped && there->op.version != 7 &&
                    there->n_kernels == 2 && y && !mw_eval(ctx, 1, &y);
  mw_release(y);
  mw_release(x);
  return good;
}

/* What a gradient would take, and what it took. */
static bool run_profile(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 3, (double[]){0.5, -1, 2}), *y = x ? apply1(ctx, "exp", x) : NULL;
  mw_profile *before = y ? mw_costs(ctx, 1, &y) : NULL, *after = NULL;
  bool good = before && !mw_profile_start(ctx);
  if (good) {
    good = !mw_eval(ctx, 1, &y);
    after = mw_profile_stop(ctx);
  }
  good = good && after && after->n_steps == before->n_steps && after->steps[0].calls == 1;
  mw_profile_free(before);
  mw_profile_free(after);
  mw_release(y);
  mw_release(x);
  return good;
}

/* Kernels are measured, or chosen without. */
static bool run_tuned(mw_context *ctx) {
  const mw_tuning measure = {.mode = MW_TUNE_MEASURE};
  mw_spec image = mw_spec_of(MW_F64, 4, (int64_t[]){1, 1, 4, 4}),
          filter = mw_spec_of(MW_F64, 4, (int64_t[]){1, 1, 3, 3});
  if (mw_tune(ctx, &measure)) return false;
  mw_tensor *x = mw_parameter(ctx, &image, NULL, "x"), *w = mw_constant(ctx, &filter, NULL);
  mw_tensor *y = x && w ? apply2(ctx, "conv2d", x, w) : NULL;
  bool good = derive_and_run(ctx, y, x, 1);
  char *table = mw_tune_table(ctx);
  mw_release(x);
  mw_release(w);
  free(table);
  return good && table;
}

/* An op that refuses its input, and a step that fails: both are remembered. */
static bool run_failures(mw_context *ctx) {
  mw_failures_keep(ctx, true);
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *none[MW_MAX_ARGS], *result;
  bool good = x && !mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, none) && mw_failure_last(ctx) &&
              strstr(mw_failure_last(ctx)->message, "even number");
  mw_tensor *y = good ? apply1(ctx, "t_fail", x) : NULL;
  good = y && mw_eval(ctx, 1, &y) && mw_failure_last(ctx) && mw_failure_last(ctx)->at == y;
  mw_program *p = good ? mw_program_new(ctx, 1, &y, 0, NULL, NULL) : NULL;
  mw_release(y);
  mw_release(x);
  char *text = p ? mw_node_attrs_text(mw_failure_last(ctx)->at, true) : NULL;
  mw_tensor *copy = NULL;
  good = text && !mw_uncomputed(ctx, 1, &mw_failure_last(ctx)->at, &copy) &&
         mw_program_run(p, &result) && mw_failure_last(ctx);
  mw_release(copy);
  free(text);
  mw_program_free(p);
  mw_failures_keep(ctx, false);
  return good;
}

/* ---- each allocation in turn ----------------------------------------------------------------- */

static const mw_op t_swish = {.name = "t_swish",
                              .version = 1,
                              .doc = "x sigmoid(2 x) + tanh(x)",
                              .example = "none",
                              .inputs = {{"x"}},
                              .outputs = {{"y"}},
                              .formula = "x > 0 ? x * sigmoid(2 * x) : tanh(x) + sum(x, axes=0)"};

static mw_context *new_context(void) {
  mw_context *ctx = context_with_test_ops();
  if (ctx && mw_plugin_add(ctx, "tests", &t_swish, malloc(1), free)) {
    mw_context_free(ctx);
    return NULL;
  }
  if (ctx) mw_threads_set(ctx, 2);
  return ctx;
}

/* Runs the work with the k-th allocation failing. False when it has fewer. */
static bool fails_at(const work *w, int64_t k, bool ever, int *problems) {
  const int64_t before = live;
  mw_context *ctx = new_context();
  if (!ctx) return false;
  mw_stats stats;
  failed = false;
  for_ever = ever;
  countdown = k;
  bool good = w->run(ctx);
  bool fell = failed;
  countdown = 0;
  failed = false;
  bool said = good || *mw_error(ctx);
  bool again = w->run(ctx);
  mw_context_stats(ctx, &stats);
  if (!said || !again || stats.tensors_live)
    printf("# allocation %lld of %s: %s, \"%s\"; again: %d; %lld tensors are left\n", (long long)k,
           w->name, good ? "succeeds" : "fails", mw_error(ctx), again,
           (long long)stats.tensors_live);
  mw_context_free(ctx);
  if (live != before)
    printf("# allocation %lld of %s: %lld blocks are lost\n", (long long)k, w->name,
           (long long)(live - before));
  *problems += !said || !again || stats.tensors_live || live != before;
  return fell;
}

static void test_work(const work *w) {
  int problems = 0;
  int64_t n = 0;
  while (fails_at(w, n + 1, false, &problems)) n++;
  for (int64_t k = 1; k <= n; k += 1 + n / 50) fails_at(w, k, true, &problems);
  ok(n > 0 && !problems, "%s: %lld allocations fail in turn", w->name, (long long)n);
}

/* Its ops say on the standard error what went wrong: nobody else could. */
static void test_context(void) {
  const int64_t before = live;
  int64_t k = 1;
  int problems = 0;
  fflush(stderr);
  int kept = dup(2);
  FILE *null = freopen("/dev/null", "w", stderr);
  for (bool fell = true; fell && null; k += 1 + k / 16) {
    failed = for_ever = false;
    countdown = k;
    mw_context *ctx = mw_context_new();
    fell = failed;
    countdown = 0;
    failed = false;
    problems += (ctx != NULL) == fell;
    mw_context_free(ctx);
    problems += live != before;
  }
  fflush(stderr);
  dup2(kept, 2);
  close(kept);
  ok(null && k > 100 && !problems, "a new context fails as a whole");
}

int main(void) {
  static const work works[] = {
      {"formulas", run_formulas}, {"a linear op", run_linear},
      {"origins", run_origins},   {"a repair", run_repair},
      {"a recipe", run_recipe},   {"checkpoints", run_checkpoint},
      {"hooks", run_hooks},       {"random numbers", run_random},
      {"an update", run_update},  {"an op made later", run_plugin},
      {"a profile", run_profile}, {"measured kernels", run_tuned},
      {"failures", run_failures}, {"an op overridden", run_override},
  };
  mw_context_free(new_context()); /* what libc keeps */
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) test_work(&works[i]);
  is_int(held, 0, "what ops own is released as often as it was taken");
  test_context();
  return done();
}
