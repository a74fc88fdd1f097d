/* profile.c: what the steps of programs take: FLOPs and bytes, which are known before anything runs,
 * and, while a profile is taken, the number and the times of the calls.
 *
 * Each worker has a log of its own, which only it writes to while a program runs; they are put
 * together when the profile stops. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"

enum { MOST_SPANS = 1 << 20 }; /* of a worker: 24 MB */

typedef struct tally {
  int64_t calls;
  double seconds;
} tally;

typedef struct worker_log {
  tally *tallies; /* of each step */
  int room;
  mw_span *spans;
  int64_t n_spans, spans_room, n_lost;
} worker_log;

typedef struct mw_recorder {
  uint64_t number;
  double start;
  mw_cost *steps;
  int n_steps, steps_room, n_programs;
  worker_log *workers;
  int n_workers;
} mw_recorder;

/* ---- what a step takes --------------------------------------------------------------------- */

static double default_flops(const mw_step *step) {
  int64_t most = 0;
  if (step->entry->op.flags & MW_ANY_DTYPE) return 0;
  for (int a = 0; a < step->n_arrays; a++)
    if (step->slots[a] >= 0 && step->arrays[a].count > most) most = step->arrays[a].count;
  return (double)most;
}

/* The addresses are those of nothing: they only tell which arrays there are. */
static double flops_of(mw_step *step) {
  static char some[MW_ALIGN];
  if (!step->entry->op.flops) return default_flops(step);
  for (int a = 0; a < step->n_arrays; a++) step->arrays[a].data = step->slots[a] < 0 ? NULL : some;
  double flops = step->entry->op.flops(&step->call);
  for (int a = 0; a < step->n_arrays; a++) step->arrays[a].data = NULL; /* until it runs */
  return flops;
}

static double bytes_of(const mw_program *p, const mw_step *step) {
  double bytes = step->saved < 0 ? 0 : (double)mw_spec_bytes(&p->slots[step->saved].spec);
  for (int a = 0; a < step->n_arrays; a++)
    if (step->slots[a] >= 0) bytes += (double)mw_spec_bytes(&step->arrays[a].spec);
  return bytes;
}

#define SHAPES_TEXT 512

static void write_shapes(const mw_step *step, char text[SHAPES_TEXT]) {
  const mw_call *call = &step->call;
  const int n_read = call->backward ? call->n_in + 2 * call->n_out : call->n_in;
  char spec[MW_SPEC_TEXT];
  size_t used = 0;
  text[0] = '\0';
  for (int a = 0; a < step->n_arrays; a++) {
    if (a == n_read) used += (size_t)snprintf(text + used, SHAPES_TEXT - used, " ->");
    if (step->slots[a] < 0) continue;
    mw_spec_text(&step->arrays[a].spec, spec);
    if (used + strlen(spec) + 16 > SHAPES_TEXT) { /* what is left is for " ...", " ->" and "\0" */
      if (text[used - 1] != '.') used += (size_t)snprintf(text + used, SHAPES_TEXT - used, " ...");
      continue;
    }
    used += (size_t)snprintf(text + used, SHAPES_TEXT - used, "%s%s", used ? " " : "", spec);
  }
}

/* cost's texts are in one block, that of `op`. */
static mw_status write_cost(mw_cost *cost, mw_program *p, mw_step *step, const char *origin) {
  const char *op = step->call.backward ? step->entry->backward_name : step->entry->op.name;
  char shapes[SHAPES_TEXT];
  write_shapes(step, shapes);
  const char *parts[] = {op, step->kernel->name ? step->kernel->name : "", shapes};
  const char *copies[3];
  size_t bytes = strlen(parts[0]) + strlen(parts[1]) + strlen(parts[2]) + 3;
  char *at = malloc(bytes);
  if (!at) return mw_no_memory(p->ctx);
  for (int i = 0; i < 3; i++) {
    copies[i] = strcpy(at, parts[i]);
    at += strlen(at) + 1;
  }
  *cost = (mw_cost){.op = copies[0],
                    .kernel = copies[1],
                    .shapes = copies[2],
                    .origin = origin ? origin : "",
                    .flops = flops_of(step),
                    .bytes = bytes_of(p, step)};
  return MW_OK;
}

/* ---- taking a profile ---------------------------------------------------------------------- */

double mw_profile_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void free_costs(mw_cost *steps, int n) {
  for (int k = 0; k < n; k++) free((void *)(uintptr_t)steps[k].op);
  free(steps);
}

static void recorder_free(mw_recorder *r) {
  if (!r) return;
  for (int w = 0; w < r->n_workers; w++) {
    free(r->workers[w].tallies);
    free(r->workers[w].spans);
  }
  free(r->workers);
  free_costs(r->steps, r->n_steps);
  free(r);
}

void mw_recorder_free(mw_context *ctx) {
  recorder_free(ctx->recorder);
  ctx->recorder = NULL;
}

mw_status mw_profile_start(mw_context *ctx) {
  if (ctx->recorder) return mw_set_error(ctx, "a profile is being taken already");
  ctx->recorder = calloc(1, sizeof *ctx->recorder);
  if (!ctx->recorder) return mw_no_memory(ctx);
  ctx->recorder->number = ++ctx->profiles;
  ctx->recorder->start = mw_profile_now();
  return MW_OK;
}

static mw_status add_steps(mw_recorder *r, mw_program *p, mw_node *const *nodes) {
  if (r->n_steps + p->n_steps > r->steps_room) {
    int room = 2 * r->steps_room + p->n_steps;
    mw_cost *steps = realloc(r->steps, (size_t)room * sizeof *steps);
    if (!steps) return mw_no_memory(p->ctx);
    r->steps = steps;
    r->steps_room = room;
  }
  p->first_cost = r->n_steps;
  for (int k = 0; k < p->n_steps; k++) {
    const char *origin = nodes ? nodes[p->steps[k].node]->origin : p->origins[k];
    if (write_cost(&r->steps[r->n_steps], p, &p->steps[k], origin)) return MW_FAILED;
    r->steps[r->n_steps].node = nodes ? nodes[p->steps[k].node]->born : 0;
    r->steps[r->n_steps++].program = r->n_programs;
  }
  r->n_programs++;
  p->profile = r->number;
  return MW_OK;
}

/* A log for each worker, with room for all steps. */
static mw_status fit_workers(mw_context *ctx, mw_recorder *r) {
  if (r->n_workers < ctx->threads) {
    worker_log *workers = realloc(r->workers, (size_t)ctx->threads * sizeof *workers);
    if (!workers) return mw_no_memory(ctx);
    memset(workers + r->n_workers, 0, (size_t)(ctx->threads - r->n_workers) * sizeof *workers);
    r->workers = workers;
    r->n_workers = ctx->threads;
  }
  for (int w = 0; w < r->n_workers; w++) {
    worker_log *log = &r->workers[w];
    if (log->room >= r->steps_room) continue;
    tally *tallies = realloc(log->tallies, (size_t)r->steps_room * sizeof *tallies);
    if (!tallies) return mw_no_memory(ctx);
    memset(tallies + log->room, 0, (size_t)(r->steps_room - log->room) * sizeof *tallies);
    log->tallies = tallies;
    log->room = r->steps_room;
  }
  return MW_OK;
}

mw_status mw_profile_program(mw_program *p, mw_node *const *nodes) {
  mw_recorder *r = p->ctx->recorder;
  if (p->profile != r->number) {
    mw_unbind(p); /* see flops_of() */
    if (add_steps(r, p, nodes)) return MW_FAILED;
  }
  if (fit_workers(p->ctx, r)) return MW_FAILED;
  for (int k = 0; k < p->n_steps; k++) r->steps[p->first_cost + k].runs++;
  return MW_OK;
}

static bool has_span_room(worker_log *log) {
  if (log->n_spans < log->spans_room) return true;
  if (log->spans_room >= MOST_SPANS) return false;
  int64_t room = log->spans_room ? 2 * log->spans_room : 1024;
  mw_span *spans = realloc(log->spans, (size_t)room * sizeof *spans);
  if (!spans) return false;
  log->spans = spans;
  log->spans_room = room;
  return true;
}

/* The profile may have been started, or ended, by a hook of the program that runs. */
void mw_profile_call(mw_program *p, int step, int worker, double begin) {
  mw_recorder *r = p->ctx->recorder;
  if (!r || p->profile != r->number || worker >= r->n_workers) return;
  worker_log *log = &r->workers[worker];
  const double seconds = mw_profile_now() - begin;
  const int at = p->first_cost + step;
  log->tallies[at].calls++;
  log->tallies[at].seconds += seconds;
  if (!has_span_room(log)) {
    log->n_lost++;
    return;
  }
  log->spans[log->n_spans++] =
      (mw_span){.step = at, .worker = worker, .begin = begin - r->start, .seconds = seconds};
}

/* ---- what came of it ----------------------------------------------------------------------- */

/* The costs go over to the profile. */
static mw_profile *profile_of(mw_recorder *r) {
  int64_t n_spans = 0;
  for (int w = 0; w < r->n_workers; w++) n_spans += r->workers[w].n_spans;
  mw_profile *profile = calloc(1, sizeof *profile);
  mw_span *spans = malloc(((size_t)n_spans + 1) * sizeof *spans);
  if (!profile || !spans) {
    free(profile);
    free(spans);
    return NULL;
  }
  *profile = (mw_profile){.n_steps = r->n_steps, .steps = r->steps, .spans = spans};
  for (int w = 0; w < r->n_workers; w++) {
    const worker_log *log = &r->workers[w];
    for (int k = 0; k < r->n_steps && k < log->room; k++) {
      r->steps[k].calls += log->tallies[k].calls;
      r->steps[k].seconds += log->tallies[k].seconds;
    }
    if (log->n_spans)
      memcpy(spans + profile->n_spans, log->spans, (size_t)log->n_spans * sizeof *spans);
    profile->n_spans += log->n_spans;
    profile->n_lost += log->n_lost;
  }
  r->steps = NULL;
  r->n_steps = 0;
  return profile;
}

mw_profile *mw_profile_stop(mw_context *ctx) {
  mw_recorder *r = ctx->recorder;
  if (!r) {
    mw_set_error(ctx, "no profile is being taken");
    return NULL;
  }
  const double seconds = mw_profile_now() - r->start;
  mw_profile *profile = profile_of(r);
  if (profile) profile->seconds = seconds;
  else mw_no_memory(ctx);
  mw_recorder_free(ctx);
  return profile;
}

void mw_profile_free(mw_profile *profile) {
  if (!profile) return;
  free_costs((mw_cost *)(uintptr_t)profile->steps, profile->n_steps);
  free((void *)(uintptr_t)profile->spans);
  free(profile);
}

mw_profile *mw_costs(mw_context *ctx, int n, mw_tensor *const *tensors) {
  const mw_request request = {.n = n, .tensors = tensors};
  mw_collection c = {0};
  const bool watching = ctx->watching;
  ctx->watching = true; /* each step counts as it was written: see commute.c */
  mw_program *p = mw_collect(ctx, &request, &c) ? NULL : mw_compile(ctx, &c);
  ctx->watching = watching;
  mw_recorder *r = p ? calloc(1, sizeof *r) : NULL;
  mw_profile *profile = NULL;
  if (r && !add_steps(r, p, c.steps) && !(profile = profile_of(r))) mw_no_memory(ctx);
  if (p && !r) mw_no_memory(ctx);
  recorder_free(r);
  if (p) mw_program_destroy(p);
  mw_collection_free(&c);
  return profile;
}
