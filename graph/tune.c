/* tune.c: chooses among the kernels that support a call by what they take, measured once on data of
 * the call's shapes. Knows no kernel by name but "plain", which every op's own has. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#if defined __x86_64__
#include <cpuid.h>
#endif

#include "denormals.h"
#include "internal.h"
#include "tune.h"

/* A call is run in rounds, each kernel once in each, so that a machine which is slower for a while
 * is so for all; each kernel's least time counts. The first round, in which kernels and caches get
 * ready, does not. */
enum { MOST_KERNELS = 16, LEAST_ROUNDS = 5, MOST_ROUNDS = 50 };
#define LONG_ENOUGH 50000000 /* nanoseconds for all rounds of a call */
#define SHORT 20000000       /* no kernel is left out for being slower than others by less */
/* The op's own kernel is a loop that is easy to read; where another takes as long as this, it would
 * take seconds. */
#define TOO_LONG_FOR_PLAIN 5000000

typedef struct candidates {
  int n;
  const mw_kernel_entry *at[MOST_KERNELS];
  char *id[MOST_KERNELS];     /* "gemm@shipped@0.1.0" */
  int64_t time[MOST_KERNELS]; /* MW_SLOW when it is not measured */
} candidates;

/* ---- what a call is called ------------------------------------------------------------------ */

static void put_list(FILE *out, const mw_ints *list) {
  for (int64_t i = 0; i < list->count; i++)
    fprintf(out, "%s%lld", i ? "," : "", (long long)list->at[i]);
}

static void put_attrs(FILE *out, const mw_call *call) {
  for (const mw_attr *a = call->op->attrs; a && a->name; a++) {
    const void *field = (const char *)call->attrs + a->offset;
    fprintf(out, " %s=", a->name);
    switch (a->type) {
      case MW_INT:
      case MW_AXIS: fprintf(out, "%lld", (long long)*(const int64_t *)field); break;
      case MW_FLOAT: fprintf(out, "%a", *(const double *)field); break;
      case MW_BOOLEAN: fputs(*(const bool *)field ? "true" : "false", out); break;
      case MW_CHOICE: fprintf(out, "%d", *(const int *)field); break;
      case MW_TEXT: mw_tuned_escape(out, field); break;
      case MW_INTS:
      case MW_AXES: put_list(out, field); break;
    }
  }
}

/* Specs, with a mark for those whose bytes are not there or not wanted. */
static void put_specs(FILE *out, const char *what, const mw_step *step, const mw_array *arrays,
                      int n) {
  char text[MW_SPEC_TEXT];
  fprintf(out, " %s", what);
  for (int i = 0; i < n; i++) {
    const bool there = step->slots[arrays + i - step->arrays] >= 0;
    if (!mw_present(&arrays[i].spec)) fputs(" none", out);
    else fprintf(out, " %s%s", there ? "" : "!", mw_spec_text(&arrays[i].spec, text));
  }
}

/* "conv2d 1 forward stride=1,1 ... in f32[64,1,28,28] ... out ..." as a new string, or NULL. */
static char *name_call(const mw_step *step) {
  const mw_call *call = &step->call;
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out) return NULL;
  fprintf(out, "%s %d %s", call->op->name, call->op->version,
          call->backward     ? "backward"
          : step->saved >= 0 ? "forward+saved"
                             : "forward");
  put_attrs(out, call);
  put_specs(out, "in", step, call->in, call->n_in);
  put_specs(out, "out", step, call->out, call->n_out);
  if (call->backward) {
    put_specs(out, "dout", step, call->dout, call->n_out);
    put_specs(out, "din", step, call->din, call->n_in);
  }
  if (fclose(out) == 0 && text) return text;
  free(text);
  return NULL;
}

static char *name_kernel(const mw_kernel_entry *entry) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out) return NULL;
  mw_tuned_escape(out, entry->kernel.name);
  fputc('@', out);
  mw_tuned_escape(out, entry->plugin->origin);
  fprintf(out, "@%s", entry->plugin->built_for);
  if (fclose(out) == 0 && text) return text;
  free(text);
  return NULL;
}

/* As it calls itself. */
static void name_processor(char name[MW_PROCESSOR]) {
  strcpy(name, "unknown");
#if defined __x86_64__
  unsigned words[12];
  for (unsigned i = 0; i < 3; i++)
    if (!__get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                     &words[4 * i + 3]))
      return;
  memcpy(name, words, sizeof words);
  name[sizeof words] = '\0';
  for (char *c = name; *c; c++)
    if ((unsigned char)*c <= ' ') *c = '_';
#endif
}

/* ---- measuring ------------------------------------------------------------------------------ */

/* A call like a step's, on memory of its own. */
typedef struct trial {
  mw_call call;
  mw_array *arrays;
  char *data, *scratch;
  size_t scratch_bytes;
} trial;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Floats in [-1, 1). Whole numbers are 0, as they may be indices; so is what else there is. */
static void fill(mw_array *array) {
  uint32_t state = 1;
  float *f32 = array->data;
  double *f64 = array->data;
  for (int64_t i = 0; i < array->count && mw_is_float(array->spec.dtype); i++) {
    state = state * 1664525 + 1013904223;
    const double value = (double)(state >> 8) / 0x1p23 - 1;
    if (array->spec.dtype == MW_F32) f32[i] = (float)value;
    else f64[i] = value;
  }
}

/* The bytes that the kernel asks for. What is there stays, so that it is in the caches. */
static mw_status give_scratch(trial *t, const mw_kernel *kernel) {
  mw_context *ctx = t->call.context;
  mw_workspace need = {0};
  if (kernel->workspace) kernel->workspace(&t->call, &need);
  if (need.call > MW_MAX_SCRATCH || need.worker > MW_MAX_SCRATCH / (size_t)ctx->threads)
    return MW_FAILED;
  t->call.worker_stride = mw_aligned(need.worker);
  const size_t workers = t->call.worker_stride * (size_t)ctx->threads,
               bytes = mw_aligned(need.call) + workers + MW_ALIGN;
  if (bytes > t->scratch_bytes) {
    free(t->scratch);
    t->scratch = aligned_alloc(MW_ALIGN, bytes);
    t->scratch_bytes = t->scratch ? bytes : 0;
    if (!t->scratch) return MW_FAILED;
  }
  t->call.worker_scratch = t->scratch;
  t->call.scratch = t->scratch + workers;
  return MW_OK;
}

static mw_status run(const mw_call *call, const mw_kernel *kernel) {
  return (call->backward ? kernel->backward : kernel->forward)(call);
}

/* What a backward call reads of its forward call has to be what that call wrote. */
static mw_status run_forward(trial *t, const mw_op_entry *entry, mw_dtype dtype) {
  t->call.backward = false;
  const mw_kernel *kernel = mw_registry_kernel(entry, dtype, &t->call);
  mw_status status =
      kernel && !give_scratch(t, kernel) && !run(&t->call, kernel) ? MW_OK : MW_FAILED;
  t->call.backward = true;
  return status;
}

/* How many bytes the saved ones are: of a backward call the slot says it too. */
static size_t saved_bytes(const mw_program *p, const mw_step *step) {
  return step->saved < 0 ? 0 : p->slots[step->saved].bytes;
}

static mw_status trial_new(trial *t, const mw_program *p, const mw_step *step, mw_dtype dtype) {
  size_t bytes = mw_aligned(saved_bytes(p, step)), at = bytes;
  for (int a = 0; a < step->n_arrays; a++)
    bytes += mw_aligned(mw_spec_bytes(&step->arrays[a].spec));
  t->call = step->call;
  t->arrays = malloc((size_t)step->n_arrays * sizeof *t->arrays);
  t->data = aligned_alloc(MW_ALIGN, bytes + MW_ALIGN);
  if (!t->arrays || !t->data) return MW_FAILED;
  memset(t->data, 0, bytes + MW_ALIGN);
  for (int a = 0; a < step->n_arrays; a++) {
    t->arrays[a] = step->arrays[a];
    if (!mw_present(&t->arrays[a].spec)) continue;
    t->arrays[a].data = t->data + at;
    at += mw_aligned(mw_spec_bytes(&t->arrays[a].spec));
    fill(&t->arrays[a]);
  }
  t->call.saved = step->saved < 0 ? NULL : t->data;
  t->call.in = t->arrays;
  t->call.out = t->arrays + step->call.n_in;
  if (step->call.backward) {
    t->call.dout = t->call.out + step->call.n_out;
    t->call.din = t->call.dout + step->call.n_out;
    if (run_forward(t, step->entry, dtype)) return MW_FAILED;
    for (int a = 0; a < step->n_arrays; a++)
      if (step->slots[a] < 0) t->arrays[a].data = NULL;
  }
  return MW_OK;
}

static void trial_free(trial *t) {
  free(t->arrays);
  free(t->data);
  free(t->scratch);
}

static int64_t time_of(trial *t, const mw_kernel *kernel) {
  if (give_scratch(t, kernel)) return MW_SLOW;
  const int64_t start = now();
  return run(&t->call, kernel) ? MW_SLOW : now() - start;
}

static int best_of(const candidates *c) {
  int best = -1;
  for (int i = 0; i < c->n; i++)
    if (c->time[i] != MW_SLOW && (best < 0 || c->time[i] < c->time[best])) best = i;
  return best;
}

/* Whether a kernel that took that long is out. */
static bool hopeless(int64_t time, int64_t least) { return time > SHORT && time / 10 > least; }

/* The first round: also tells which are so slow that they are out. What is slow once may have been
 * getting ready. */
static void warm_up(trial *t, candidates *c) {
  int64_t least = MW_SLOW;
  for (int i = 0; i < c->n; i++) {
    const bool plain = strcmp(c->at[i]->kernel.name, "plain") == 0;
    const bool out = plain && least > TOO_LONG_FOR_PLAIN && least != MW_SLOW;
    c->time[i] = out ? MW_SLOW : time_of(t, &c->at[i]->kernel);
    if (c->time[i] < least) least = c->time[i];
  }
  for (int i = 0; i < c->n; i++) {
    if (c->time[i] == MW_SLOW) continue;
    if (hopeless(c->time[i], least) && hopeless(time_of(t, &c->at[i]->kernel), least))
      c->time[i] = MW_SLOW;
    else c->time[i] = MW_SLOW - 1; /* to be measured */
  }
}

static void measure(trial *t, candidates *c) {
  warm_up(t, c);
  const int64_t start = now();
  for (int round = 0; round < MOST_ROUNDS; round++) {
    if (round >= LEAST_ROUNDS && now() - start > LONG_ENOUGH) break;
    for (int i = 0; i < c->n; i++) {
      if (c->time[i] == MW_SLOW) continue;
      const int64_t time = time_of(t, &c->at[i]->kernel);
      if (time < c->time[i]) c->time[i] = time;
    }
  }
}

/* ---- choosing -------------------------------------------------------------------------------- */

static mw_status find_candidates(candidates *c, const mw_op_entry *entry, mw_dtype dtype,
                                 const mw_call *call) {
  for (int k = 0; k < entry->n_kernels && c->n < MOST_KERNELS; k++) {
    if (entry->kernels[k].aside || !mw_kernel_serves(&entry->kernels[k], dtype, call)) continue;
    c->at[c->n] = &entry->kernels[k];
    if (!(c->id[c->n++] = name_kernel(&entry->kernels[k]))) return MW_FAILED;
  }
  return MW_OK;
}

/* The fastest by a line of the table. `complete`: only if it knows them all, as they are now. */
static const mw_kernel *look_up(const mw_tuned *line, const candidates *c, bool complete) {
  const mw_kernel *best = NULL;
  int64_t least = MW_SLOW;
  for (int i = 0; line && i < c->n; i++) {
    const int64_t time = mw_tuned_time(line, c->id[i], complete);
    if (time == MW_UNKNOWN && complete) return NULL;
    if (time == MW_UNKNOWN || time >= least) continue;
    least = time;
    best = &c->at[i]->kernel;
  }
  return best;
}

/* Into the table, the fastest first. */
static mw_status keep(mw_context *ctx, mw_tuner *t, const char *call, const candidates *c) {
  int order[MOST_KERNELS];
  for (int i = 0; i < c->n; i++) {
    int at = i;
    for (; at > 0 && c->time[i] < c->time[order[at - 1]]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out) return mw_no_memory(ctx);
  for (int n = 0; n < c->n; n++) {
    const int i = order[n];
    fprintf(out, "%s%s=", n ? "\t" : "", c->id[i]);
    if (c->time[i] == MW_SLOW) fputc('-', out);
    else fprintf(out, "%lld", (long long)c->time[i]);
  }
  mw_status status =
      fclose(out) == 0 && text ? mw_tuned_put(ctx, t, call, t->machine, text) : mw_no_memory(ctx);
  free(text);
  return status;
}

/* NULL when it could not be measured: then the call is run as without the tuner. */
static const mw_kernel *find_out(const mw_program *p, const mw_step *step, mw_dtype dtype,
                                 const char *call, candidates *c) {
  mw_context *ctx = p->ctx;
  mw_tuner *t = ctx->tuner;
  if (t->budget > 0 && t->spent >= t->budget) return NULL;
  const int64_t start = now();
  trial it = {.data = NULL};
  const mw_float_mode before = mw_denormals_flush(!ctx->keeps_denormals); /* as in a run */
  const bool ready = !trial_new(&it, p, step, dtype);
  if (ready) measure(&it, c);
  mw_float_mode_set(before);
  trial_free(&it);
  t->spent += 1e-9 * (double)(now() - start);
  const int best = ready ? best_of(c) : -1;
  if (best < 0 || keep(ctx, t, call, c)) return NULL;
  t->dirty = true;
  return &c->at[best]->kernel;
}

const mw_kernel *mw_tune_kernel(const mw_program *p, const mw_step *step, mw_dtype dtype) {
  mw_context *ctx = p->ctx;
  mw_tuner *t = ctx->tuner;
  const mw_op_entry *entry = step->entry;
  const mw_kernel *first = mw_registry_kernel(entry, dtype, &step->call), *chosen = NULL;
  if (!first || !t || t->mode == MW_TUNE_OFF) return first;
  if (entry->preferred && strcmp(first->name, entry->preferred) == 0) return first;
  candidates c = {.n = 0};
  const bool named = !find_candidates(&c, entry, dtype, &step->call);
  char *call = named && c.n > 1 ? name_call(step) : NULL;
  if (call) {
    snprintf(t->machine, sizeof t->machine, "%s threads=%d %s", ctx->level->name, ctx->threads,
             t->processor);
    const mw_tuned *line = mw_tuned_find(t, call, t->machine);
    if (t->mode == MW_TUNE_MEASURE) chosen = look_up(line, &c, true);
    else chosen = look_up(line ? line : mw_tuned_find(t, call, NULL), &c, false);
    if (!chosen && t->mode == MW_TUNE_MEASURE) chosen = find_out(p, step, dtype, call, &c);
  }
  free(call);
  for (int i = 0; i < c.n; i++) free(c.id[i]);
  ctx->error[0] = '\0';
  return chosen ? chosen : first;
}

/* ---- the public face -------------------------------------------------------------------------- */

mw_status mw_tune(mw_context *ctx, const mw_tuning *tuning) {
  mw_tuner *t = calloc(1, sizeof *t);
  if (!t) return mw_no_memory(ctx);
  t->mode = tuning->mode;
  t->budget = tuning->budget;
  name_processor(t->processor);
  if (tuning->file && !(t->file = strdup(tuning->file))) {
    mw_tuner_free(t);
    return mw_no_memory(ctx);
  }
  const bool read = t->file && mw_tuner_read(ctx, t);
  if (t->file && !read && t->mode == MW_TUNE_PINNED) {
    mw_set_error(ctx, "%s", *t->note ? t->note : "");
    if (!*t->note) mw_set_error(ctx, "%s: there is no such file", t->file);
    mw_tuner_free(t);
    return MW_FAILED;
  }
  mw_tuner_free(ctx->tuner);
  ctx->tuner = t;
  mw_cache_clear(ctx); /* programs have chosen already */
  return MW_OK;
}

void mw_tune_settle(mw_context *ctx) {
  if (ctx->tuner && ctx->tuner->dirty) mw_tuner_write(ctx, ctx->tuner);
}

const char *mw_tune_note(const mw_context *ctx) { return ctx->tuner ? ctx->tuner->note : ""; }

char *mw_tune_table(mw_context *ctx) {
  const mw_tuner *t = ctx->tuner;
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  for (int i = 0; out && t && i < t->n; i++)
    fprintf(out, "%s\t%s\t%s\n", t->tuned[i].call, t->tuned[i].machine, t->tuned[i].times);
  if (out && fclose(out) == 0 && text) return text;
  free(text);
  mw_no_memory(ctx);
  return NULL;
}
