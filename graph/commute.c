/* commute.c: a rising function of a maximum instead of the maximum of its values.
 *
 * max(f(a), f(b)) is f(max(a, b)) where f rises, and so an op that picks the largest elements
 * (MW_PICKS), as pooling does, may come before one that rises (MW_RISING), as relu: that then has a
 * quarter of the elements or less, forward and backward. Gradients are the same, too: where two
 * elements of which either may be picked have one value of f, its derivative there is 0. Only a zero
 * may have the other sign.
 *
 *     r = f(c)          p = pick(r)         becomes     q = pick(c)         p = f(q)
 *     dr = pick'(dp)    dc = f'(dr)                     dq = f'(dp)         dc = pick'(dq)
 *
 * That is done where nothing else asks for r and dr. Runs that are watched look at each value as it
 * is written, and so have programs of their own, in which nothing is moved. */
#include "internal.h"

typedef struct pair { /* steps, or -1 */
  int rises, picks, rises_back, picks_back;
} pair;

static bool is_forward(const mw_step *step, unsigned flag) {
  return !step->call.backward && (step->entry->op.flags & flag) && step->call.n_in == 1 &&
         step->call.n_out == 1;
}

/* How many arrays of steps, results and updates are this slot; a view of it counts as many times. */
static int uses_of(const mw_program *p, int slot) {
  int uses = 0;
  for (int k = 0; k < p->n_steps; k++)
    for (int a = 0; a < p->steps[k].n_arrays; a++) {
      const int s = p->steps[k].slots[a];
      uses += s >= 0 && (s == slot || p->slots[s].root == slot);
    }
  for (int i = 0; i < p->n_results; i++) uses += p->slots[p->results[i]].root == slot;
  for (int i = 0; i < p->n_updates; i++) uses += p->slots[p->updates[i]].root == slot;
  return uses;
}

/* How many of a step's arrays are this slot. */
static int uses_in(const mw_program *p, int k, int slot) {
  int uses = 0;
  for (int a = 0; k >= 0 && a < p->steps[k].n_arrays; a++) uses += p->steps[k].slots[a] == slot;
  return uses;
}

/* The arrays of a step with one input and one output; the last two of a backward step alone. */
enum { IN, OUT, DOUT, DIN };

/* The backward step of an op that knows what the forward step saved, or to which `dout` comes; -1. */
static int backward_of(const mw_program *p, int forward, int dout) {
  const mw_step *f = &p->steps[forward];
  for (int k = forward + 1; k < p->n_steps; k++) {
    const mw_step *b = &p->steps[k];
    if (!b->call.backward || b->entry != f->entry) continue;
    if (dout >= 0 ? b->slots[DOUT] == dout : b->saved >= 0 && b->saved == f->saved) return k;
  }
  return -1;
}

static bool is_root(const mw_program *p, int slot) { return p->slots[slot].root == slot; }

/* Whether the step that makes r, and one that picks of it, may change places. */
static bool find_pair(const mw_program *p, int rises, pair *it) {
  const mw_step *f = &p->steps[rises];
  *it = (pair){rises, -1, -1, -1};
  if (!is_forward(f, MW_RISING) || !mw_spec_equal(&f->arrays[IN].spec, &f->arrays[OUT].spec))
    return false;
  const int r = f->slots[OUT];
  for (int k = rises + 1; k < p->n_steps && it->picks < 0; k++)
    if (is_forward(&p->steps[k], MW_PICKS) && p->steps[k].slots[IN] == r) it->picks = k;
  if (it->picks < 0) return false;
  const mw_step *g = &p->steps[it->picks];
  if (g->entry->op.backward_needs != MW_NEEDS_SAVED || !is_root(p, r) ||
      g->arrays[OUT].count >= g->arrays[IN].count || !is_root(p, g->slots[OUT]))
    return false;
  it->picks_back = g->saved >= 0 ? backward_of(p, it->picks, -1) : -1;
  if (it->picks_back >= 0) {
    const int dr = p->steps[it->picks_back].slots[DIN];
    it->rises_back = dr >= 0 ? backward_of(p, rises, dr) : -1;
    if (it->rises_back < it->picks_back || uses_of(p, dr) != 2) return false;
  }
  return uses_of(p, r) == 2 + uses_in(p, it->rises_back, r);
}

/* What an array is from now on; one that the step does not read or write stays absent. */
static void set(mw_step *step, int a, const mw_spec *spec, int slot) {
  step->arrays[a] = (mw_array){.spec = *spec, .count = mw_spec_count(spec)};
  if (step->slots[a] >= 0) step->slots[a] = slot;
}

static void exchange(mw_program *p, int k, int l) {
  const mw_step kept = p->steps[k];
  p->steps[k] = p->steps[l];
  p->steps[l] = kept;
}

static mw_status commute(mw_program *p, const pair *it) {
  mw_step *f = &p->steps[it->rises], *g = &p->steps[it->picks];
  const mw_spec all = g->arrays[IN].spec, picked = g->arrays[OUT].spec;
  const int c = f->slots[IN], result = g->slots[OUT];
  const int q = mw_slot_new(p, &picked, MW_IN_ARENA);
  if (q < 0) return MW_FAILED;
  set(g, IN, &all, c), set(g, OUT, &picked, q);
  set(f, IN, &picked, q), set(f, OUT, &picked, result);
  exchange(p, it->rises, it->picks);
  if (it->picks_back < 0) return MW_OK;

  mw_step *df = &p->steps[it->rises_back], *dg = &p->steps[it->picks_back];
  const int dp = dg->slots[DOUT], dc = df->slots[DIN];
  const int dq = mw_slot_new(p, &picked, MW_IN_ARENA);
  if (dq < 0) return MW_FAILED;
  set(df, IN, &picked, q), set(df, OUT, &picked, result);
  set(df, DOUT, &picked, dp), set(df, DIN, &picked, dq);
  set(dg, DOUT, &picked, dq), set(dg, DIN, &all, dc);
  exchange(p, it->rises_back, it->picks_back);
  return MW_OK;
}

mw_status mw_commute(mw_program *p) {
  pair it;
  for (int k = 0; k < p->n_steps; k++) {
    if (!find_pair(p, k, &it)) continue;
    p->held_back = p->ctx->watching;
    if (p->held_back) return MW_OK;
    if (commute(p, &it)) return MW_FAILED;
    p->commuted = true;
  }
  return MW_OK;
}
