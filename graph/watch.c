/* watch.c: runs that look at every value: which step made the first NaN or infinity, and what others
 * want to see of them. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

bool mw_watch(mw_context *ctx, bool on) {
  bool before = ctx->watches_nans;
  ctx->watches_nans = on;
  ctx->watching = on || ctx->look;
  return before;
}

void mw_observe(mw_context *ctx, mw_look look, void *state) {
  ctx->look = look;
  ctx->look_state = state;
  ctx->watching = look || ctx->watches_nans;
}

/* ---- looking at one value ------------------------------------------------------------------ */

typedef struct range {
  int64_t nans, infinities, finite;
  double least, most, sum;
} range;

static double element(const mw_array *a, int64_t i) {
  return a->spec.dtype == MW_F32 ? (double)((const float *)a->data)[i]
                                 : ((const double *)a->data)[i];
}

static range look(const mw_array *a) {
  range r = {.least = INFINITY, .most = -INFINITY};
  if (!a->data || !mw_is_float(a->spec.dtype)) return r;
  for (int64_t i = 0; i < a->count; i++) {
    double x = element(a, i);
    if (isnan(x)) {
      r.nans++;
    } else if (isinf(x)) {
      r.infinities++;
    } else {
      r.finite++;
      r.sum += x;
      r.least = x < r.least ? x : r.least;
      r.most = x > r.most ? x : r.most;
    }
  }
  return r;
}

static bool is_odd(const range *r) { return r->nans || r->infinities; }

/* ---- the message --------------------------------------------------------------------------- */

typedef struct text {
  char at[MW_ERROR_TEXT];
  size_t used;
} text;

static void MW_PRINTF(2, 3) say(text *t, const char *format, ...) {
  if (t->used >= sizeof t->at) return;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(t->at + t->used, sizeof t->at - t->used, format, args);
  va_end(args);
  if (n > 0) t->used += (size_t)n;
}

static void say_counts(text *t, const range *r) {
  if (r->nans) say(t, "%lld NaN", (long long)r->nans);
  if (r->infinities)
    say(t, "%s%lld %s", r->nans ? " and " : "", (long long)r->infinities,
        r->infinities > 1 ? "infinities" : "infinity");
}

/* "x", "gradient of y": what the call's array a is, of those that it reads. */
static void say_name(text *t, const mw_step *step, int a) {
  const mw_call *call = &step->call;
  const mw_op *op = &step->entry->op;
  char name[MW_NAME_TEXT];
  if (a < call->n_in) say(t, "%s", mw_input_text(step->entry, call->n_in, a, name));
  else if (a < call->n_in + call->n_out) say(t, "%s", op->outputs[a - call->n_in].name);
  else say(t, "the gradient of %s", op->outputs[a - call->n_in - call->n_out].name);
}

static void say_input(text *t, const mw_step *step, int a, const range *r) {
  char spec[MW_SPEC_TEXT];
  say(t, "; ");
  say_name(t, step, a);
  say(t, " %s", mw_spec_text(&step->arrays[a].spec, spec));
  if (r->finite)
    say(t, " has min %.6g, max %.6g, mean %.6g", r->least, r->most, r->sum / (double)r->finite);
  say(t, "%s %lld NaN, %lld infinite", r->finite ? "," : " has", (long long)r->nans,
      (long long)r->infinities);
}

static mw_status blame(const mw_step *step, const char *origin, int output, const range *made,
                       const range *inputs, int n) {
  text t = {.used = 0};
  char spec[MW_SPEC_TEXT];
  const mw_array *a = &step->arrays[output];
  say_counts(&t, made);
  say(&t, " in its %s %s", step->call.backward ? "gradient" : "result",
      mw_spec_text(&a->spec, spec));
  if (origin) say(&t, ", built at %s", origin);
  for (int i = 0; i < n; i++)
    if (step->arrays[i].data && mw_is_float(step->arrays[i].spec.dtype))
      say_input(&t, step, i, &inputs[i]);
  mw_set_error(step->call.context, "%s", t.at);
  mw_prefix_error(step->call.context,
                  step->call.backward ? step->entry->backward_name : step->entry->op.name);
  return MW_FAILED;
}

/* ---- the step ------------------------------------------------------------------------------ */

/* Inputs are looked at before the kernel runs, which may write over them. */
static mw_status run_for_nans(mw_step *step, const char *origin, int n_read) {
  const mw_call *call = &step->call;
  range *inputs = malloc(((size_t)n_read + 1) * sizeof *inputs);
  if (!inputs) return mw_no_memory(call->context);
  bool innocent = false; /* what was odd before is not of its making */
  for (int a = 0; a < n_read; a++) {
    inputs[a] = look(&step->arrays[a]);
    innocent |= is_odd(&inputs[a]);
  }
  mw_status status = mw_step_run(step);
  for (int a = n_read; a < step->n_arrays && !status && !innocent; a++) {
    range made = look(&step->arrays[a]);
    if (is_odd(&made)) status = blame(step, origin, a, &made, inputs, n_read);
  }
  free(inputs);
  return status;
}

mw_status mw_watch_step(mw_step *step, const char *origin) {
  const mw_call *call = &step->call;
  mw_context *ctx = call->context;
  int n_read = call->backward ? call->n_in + 2 * call->n_out : call->n_in;
  mw_status status = ctx->watches_nans ? run_for_nans(step, origin, n_read) : mw_step_run(step);
  if (ctx->look && !status)
    ctx->look(ctx->look_state, call->backward ? step->entry->backward_name : step->entry->op.name,
              origin ? origin : "", ctx->stats.programs_run, step->node, step->n_arrays - n_read,
              step->arrays + n_read);
  return status;
}
