/* gradient.c: reverse-mode differentiation as a walk from graph to graph.
 *
 * The walk lists the nodes that y depends on, marks those that lead to a wanted tensor, and goes
 * through them backward. Each node turns the gradients that arrive at its outputs into gradients
 * of its inputs: by one node that calls the op's backward kernel, or, where the op has none, by
 * the nodes that its `gradient` builds. Gradients that meet at a tensor are added.
 *
 * A backward node can be differentiated too when its op has `gradient`: what that builds stands
 * for the same derivative, out of ops that have derivatives of their own.
 *
 * A trace is a walk of which everything is kept; it reads the walk, and so makes this file long. */
#include <string.h>

#include "internal.h"
#include "trace.h"

/* ---- the walk ------------------------------------------------------------------------------ */

typedef struct part { /* one gradient that arrives at a tensor */
  mw_tensor *gradient;
  const mw_node *from; /* that uses the tensor; NULL: none, it is y */
  int input;           /* as which input; -1: see mw_traced_part */
  int next;            /* of the same tensor, or -1 */
} part;

typedef struct arrival { /* at a checkpoint */
  mw_node *node;
  mw_tensor *dy;
} arrival;

typedef struct walk {
  mw_context *ctx;
  mw_table nodes;  /* node -> position in order */
  mw_node **order; /* inputs before what is made of them */
  bool *leads;     /* by position: to a wanted tensor */
  int n, room;
  mw_table wanted; /* tensor -> position in x */
  mw_table stops;  /* of a partial walk: tensors below which nothing is visited */
  mw_table first;  /* tensor -> its first part */
  part *parts;
  int n_parts, parts_room;
  mw_table calls;   /* number of a checkpointed call -> its checkpoints that are still to come */
  arrival *waiting; /* for those */
  int n_waiting, waiting_room;
} walk;

static void walk_free(walk *w) {
  for (int i = 0; i < w->n_parts; i++) mw_release(w->parts[i].gradient);
  for (int i = 0; i < w->n_waiting; i++) mw_release(w->waiting[i].dy);
  mw_table tables[] = {w->nodes, w->wanted, w->stops, w->first, w->calls};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    free(tables[i].keys);
    free(tables[i].values);
  }
  free(w->order);
  free(w->leads);
  free(w->parts);
  free(w->waiting);
}

/* The i-th tensor that a node's gradient may be made of, NULL to skip; false after the last.
 * For a backward node whose op has `gradient` these are all that the op's gradient may use. */
static bool dependency(const mw_node *node, int i, mw_tensor **t) {
  *t = NULL;
  if (i < node->n_in) {
    if (i || !node->again) *t = node->in[i]; /* what a checkpoint hides is not walked */
    return true;
  }
  const mw_node *f = node->forward;
  i -= node->n_in;
  if (!f || !f->entry->op.gradient || i >= f->n_in + f->n_out) return false;
  *t = i < f->n_in ? f->in[i] : &f->out[i - f->n_in];
  return true;
}

typedef struct visit {
  mw_node *node;
  int next; /* dependency */
} visit;

static mw_status append(walk *w, mw_node *node) {
  if (w->n == w->room) {
    int room = w->room ? 2 * w->room : 64;
    mw_node **order = realloc(w->order, (size_t)room * sizeof *order);
    if (order) w->order = order;
    bool *leads = order ? realloc(w->leads, (size_t)room) : NULL;
    if (!leads) return mw_no_memory(w->ctx);
    w->leads = leads;
    w->room = room;
  }
  w->order[w->n] = node;
  w->leads[w->n] = false;
  return mw_table_put(&w->nodes, w->ctx, node, w->n++);
}

/* Lists the nodes below y, depth first, with a stack of its own: graphs can be very deep. */
static mw_status list_nodes(walk *w, mw_tensor *y) {
  size_t depth = 0, room = 64;
  visit *stack = malloc(room * sizeof *stack);
  if (!stack) return mw_no_memory(w->ctx);
  mw_status status = MW_OK;
  stack[depth++] = (visit){.node = y->node};
  if (mw_table_get(&w->nodes, y->node) >= 0) depth = 0;
  else if (!(status = mw_node_current(y->node)))
    status = mw_table_put(&w->nodes, w->ctx, y->node, INT32_MAX);
  while (depth && !status) {
    visit *top = &stack[depth - 1];
    mw_tensor *t;
    if (!dependency(top->node, top->next++, &t)) {
      status = append(w, top->node);
      depth--;
      continue;
    }
    if (!t || mw_table_get(&w->stops, t) >= 0) continue;
    if (mw_table_get(&w->nodes, t->node) >= 0) continue;
    status = mw_node_current(t->node);
    if (!status) status = mw_table_put(&w->nodes, w->ctx, t->node, INT32_MAX);
    if (!status && depth == room) {
      visit *grown = realloc(stack, 2 * room * sizeof *stack);
      if (!grown) {
        status = mw_no_memory(w->ctx);
        break;
      }
      stack = grown;
      room *= 2;
    }
    if (!status) stack[depth++] = (visit){.node = t->node};
  }
  free(stack);
  return status;
}

/* Saved bytes count too: what reads them depends on what they were made of. */
static bool tensor_leads(const walk *w, const mw_tensor *t) {
  if (!t) return false;
  bool saved = t->node->saves && t->index == t->node->n_out;
  if (!saved && !mw_is_float(t->spec.dtype)) return false;
  if (mw_table_get(&w->wanted, t) >= 0) return true;
  int position = mw_table_get(&w->nodes, t->node);
  return position >= 0 && position < w->n && w->leads[position];
}

static const void *call_key(const mw_node *checkpoint) {
  return (const void *)(uintptr_t)checkpoint->again;
}

static mw_status mark_leading(walk *w) {
  for (int k = 0; k < w->n; k++) {
    mw_tensor *t;
    for (int i = 0; dependency(w->order[k], i, &t) && !w->leads[k]; i++)
      w->leads[k] = tensor_leads(w, t);
    if (!w->leads[k] || !w->order[k]->again) continue;
    int others = mw_table_get(&w->calls, call_key(w->order[k]));
    if (mw_table_put(&w->calls, w->ctx, call_key(w->order[k]), others < 0 ? 1 : others + 1))
      return MW_FAILED;
  }
  return MW_OK;
}

/* Adds a gradient (one reference of it is taken, also on failure) to those of t. */
static mw_status arrive(walk *w, const mw_tensor *t, mw_tensor *gradient, const mw_node *from,
                        int input) {
  if (w->n_parts == w->parts_room) {
    int room = w->parts_room ? 2 * w->parts_room : 64;
    part *grown = realloc(w->parts, (size_t)room * sizeof *grown);
    if (!grown) {
      mw_release(gradient);
      return mw_no_memory(w->ctx);
    }
    w->parts = grown;
    w->parts_room = room;
  }
  w->parts[w->n_parts] = (part){
      .gradient = gradient, .from = from, .input = input, .next = mw_table_get(&w->first, t)};
  return mw_table_put(&w->first, w->ctx, t, w->n_parts++);
}

/* The sum of what arrived at t, as a new reference; NULL without an error when nothing did. */
static mw_status total(walk *w, const mw_tensor *t, mw_tensor **sum) {
  *sum = NULL;
  int n = 0, first = mw_table_get(&w->first, t);
  for (int p = first; p >= 0; p = w->parts[p].next) n++;
  if (n <= 1) {
    if (n) *sum = mw_retain(w->parts[first].gradient);
    return MW_OK;
  }
  if (!w->ctx->adder) return mw_set_error(w->ctx, "no op adds gradients (flag MW_ADDS)");
  mw_tensor **terms = malloc((size_t)n * sizeof *terms);
  if (!terms) return mw_no_memory(w->ctx);
  int i = n; /* the list is newest first; they are added in the order in which they came */
  for (int p = first; p >= 0; p = w->parts[p].next) terms[--i] = w->parts[p].gradient;
  mw_node *node = mw_node_forward(w->ctx, w->ctx->adder, n, terms, 0, NULL);
  free(terms);
  if (!node) return MW_FAILED;
  *sum = &node->out[0];
  return MW_OK;
}

/* ---- one node backward --------------------------------------------------------------------- */

/* What one step of the walk needs for a node of any number of inputs, in one block. */
typedef struct frame {
  mw_tensor **din, **stops, **dstops;
  bool *wanted;
} frame;

static mw_status frame_new(frame *f, mw_context *ctx, int n_in) {
  size_t stops = (size_t)n_in + 2 * MW_MAX_ARGS, pointers = (size_t)n_in + 2 * stops;
  *f = (frame){.din = calloc(pointers + (size_t)n_in + 1, sizeof *f->din)};
  if (!f->din) return mw_no_memory(ctx);
  f->stops = f->din + n_in;
  f->dstops = f->stops + stops;
  f->wanted = (bool *)(f->dstops + stops);
  return MW_OK;
}

static mw_status walk_back(walk *w, int n_y, mw_tensor *const *y, mw_tensor *const *dy, int n,
                           mw_tensor *const *x, int n_stops);
static mw_status derive(mw_context *ctx, int n_y, mw_tensor *const *y, mw_tensor *const *dy, int n,
                        mw_tensor *const *x, mw_tensor **dx, int n_stops);

static mw_status pass_forward_node(walk *w, mw_node *node, mw_tensor *const *dout, frame *fr) {
  const mw_op *op = &node->entry->op;
  for (int i = 0; i < node->n_in; i++) fr->wanted[i] = tensor_leads(w, node->in[i]);
  mw_status status = MW_OK;
  mw_build made = {0};
  mw_node *back = NULL;
  if (op->backward) {
    back = mw_node_backward(node, dout, fr->wanted);
    if (!back) return MW_FAILED;
    for (int i = 0; i < node->n_in; i++)
      if (fr->wanted[i]) fr->din[i] = &back->out[i];
  } else if (op->gradient) {
    status = mw_build_gradient(node, dout, fr->wanted, fr->din, &made);
  } else {
    status = mw_set_error(w->ctx, "%s: it has no derivative", op->name);
  }
  if (status) mw_failure_note(w->ctx, node, true);
  for (int i = 0; i < node->n_in && !status; i++)
    if (fr->wanted[i] && fr->din[i])
      status = arrive(w, node->in[i], mw_retain(fr->din[i]), node, i);
  if (back) mw_release(&back->out[0]);
  mw_build_free(&made);
  return status;
}

/* Hands what arrived in an inner walk at x[i] on to to[i], each part for itself, so that the sums
 * are those of a walk without checkpoints. They come together, so that no step needs what was
 * computed again after a step that is nearer to the leaves has run. */
static mw_status hand_on(walk *w, const walk *inner, const mw_node *checkpoint, int n,
                         mw_tensor *const *x, mw_tensor *const *to) {
  mw_tensor **parts = calloc(2 * (size_t)inner->n_parts + 1, sizeof *parts), **owner;
  if (!parts) return mw_no_memory(w->ctx);
  owner = parts + inner->n_parts;
  int n_parts = 0;
  for (int i = 0; i < n; i++) {
    int first = mw_table_get(&inner->first, x[i]), count = 0;
    for (int p = first; p >= 0; p = inner->parts[p].next) count++;
    int k = n_parts += count; /* the list is newest first */
    for (int p = first; p >= 0; p = inner->parts[p].next) {
      parts[--k] = inner->parts[p].gradient;
      owner[k] = to[i];
    }
  }
  mw_tensor *all = n_parts > 1 ? mw_after(parts[0], n_parts - 1, parts + 1) : NULL;
  mw_status status = n_parts > 1 && !all ? MW_FAILED : MW_OK;
  for (int k = 0; k < n_parts && !status; k++) {
    mw_tensor *gradient = all ? mw_after(parts[k], 1, &all) : mw_retain(parts[k]);
    status = gradient ? arrive(w, owner[k], gradient, checkpoint, -1) : MW_FAILED;
  }
  mw_release(all);
  free(parts);
  return status;
}

/* Through the checkpoints of one call: the gradients of what lies between them and the boundary,
 * computed again, in the boundary. */
static mw_status pass_call(walk *w, int n, mw_node *const *checkpoints, mw_tensor *const *dy) {
  mw_again again;
  walk inner = {.ctx = w->ctx};
  mw_tensor **stops = NULL;
  mw_status status = mw_compute_again(w->ctx, n, checkpoints, dy, &w->wanted, &again);
  if (!status && !(stops = calloc(2 * (size_t)again.n + 1, sizeof *stops)))
    status = mw_no_memory(w->ctx);
  if (!status) {
    mw_tensor **to = stops + again.n;
    int listed = 0, leading = 0;
    for (int leads = 1; leads >= 0; leads--) {
      for (int i = 0; i < again.n; i++) {
        if (tensor_leads(w, again.edge[i]) != leads) continue;
        to[listed] = again.edge[i];
        stops[listed++] = again.copies[i];
      }
      if (leads) leading = listed;
    }
    status = walk_back(&inner, n, again.y, dy, leading, stops, again.n);
    if (!status) status = hand_on(w, &inner, checkpoints[0], leading, stops, to);
  }
  walk_free(&inner);
  mw_again_free(&again);
  free(stops);
  return status;
}

/* What arrives at a checkpoint waits until the other ones of the call have been passed. */
static mw_status pass_checkpoint(walk *w, mw_node *node, mw_tensor *dy) {
  if (w->n_waiting == w->waiting_room) {
    int room = w->waiting_room ? 2 * w->waiting_room : 8;
    arrival *grown = realloc(w->waiting, (size_t)room * sizeof *grown);
    if (!grown) return mw_no_memory(w->ctx);
    w->waiting = grown;
    w->waiting_room = room;
  }
  if (dy) w->waiting[w->n_waiting++] = (arrival){.node = node, .dy = mw_retain(dy)};
  int others = mw_table_get(&w->calls, call_key(node)) - 1;
  if (mw_table_put(&w->calls, w->ctx, call_key(node), others)) return MW_FAILED;
  if (others > 0) return MW_OK;
  mw_tensor **dys = calloc((size_t)w->n_waiting + 1, sizeof *dys);
  mw_node **checkpoints = calloc((size_t)w->n_waiting + 1, sizeof(mw_node *));
  int n = 0, left = 0;
  mw_status status = dys && checkpoints ? MW_OK : mw_no_memory(w->ctx);
  for (int i = 0; i < w->n_waiting && !status; i++) {
    if (w->waiting[i].node->again != node->again) {
      w->waiting[left++] = w->waiting[i];
      continue;
    }
    checkpoints[n] = w->waiting[i].node;
    dys[n++] = w->waiting[i].dy;
  }
  if (!status) w->n_waiting = left;
  for (int i = 0; i < n / 2; i++) { /* what was passed last was built first */
    mw_node *other = checkpoints[i];
    mw_tensor *other_dy = dys[i];
    checkpoints[i] = checkpoints[n - 1 - i];
    dys[i] = dys[n - 1 - i];
    checkpoints[n - 1 - i] = other;
    dys[n - 1 - i] = other_dy;
  }
  if (n && !status) status = pass_call(w, n, checkpoints, dys);
  for (int i = 0; i < n; i++) mw_release(dys[i]);
  free(dys);
  free(checkpoints);
  return status;
}

/* Lists what a backward node of f is made of: the n tensors that lead first, then the others, at
 * which the walk below stops as well. Returns the number of all. */
static int sort_stops(const walk *w, mw_node *f, mw_tensor *const *dout, mw_tensor **stops,
                      int *n) {
  int listed = *n = 0;
  for (int leading = 1; leading >= 0; leading--) {
    for (int i = 0; i < f->n_in + 2 * f->n_out; i++) {
      mw_tensor *t = i < f->n_in              ? f->in[i]
                     : i < f->n_in + f->n_out ? &f->out[i - f->n_in]
                                              : dout[i - f->n_in - f->n_out];
      if (t && tensor_leads(w, t) == leading) stops[listed++] = t;
    }
    if (leading) *n = listed;
  }
  return listed;
}

/* Backward of a linear op is linear in dout, and forward is its derivative: what arrives at B's
 * outputs is put through the op as if it were the inputs. */
static mw_status pass_linear_backward(walk *w, mw_node *node, mw_tensor *const *arrived) {
  mw_node *f = node->forward;
  mw_tensor *const *dout = node->in + f->n_in + f->n_out + 1;
  mw_tensor **in = calloc((size_t)f->n_in + 1, sizeof *in);
  mw_status status = in ? MW_OK : mw_no_memory(w->ctx);
  for (int i = 0; i < f->n_in && !status; i++) {
    bool varies = f->in[i] && mw_is_float(f->in[i]->spec.dtype);
    if (arrived[i]) in[i] = mw_retain(arrived[i]);
    else if (varies) in[i] = mw_constant_filled(w->ctx, &f->in[i]->spec, 0);
    else if (f->in[i]) in[i] = mw_retain(f->in[i]);
    if (f->in[i] && !in[i]) status = MW_FAILED;
  }
  mw_node *again = status ? NULL : mw_node_like(f, in);
  if (!again) status = MW_FAILED;
  for (int j = 0; j < f->n_out && !status; j++)
    if (dout[j]) status = arrive(w, dout[j], mw_retain(&again->out[j]), node, -1);
  if (again) mw_release(&again->out[0]);
  for (int i = 0; in && i < f->n_in; i++) mw_release(in[i]);
  free(in);
  return status;
}

/* A backward node B of f: B's outputs, rebuilt by f's gradient out of f's inputs, f's outputs and
 * the dout that B was given, are differentiated in those, each taken as independent: how they
 * depend on each other is the business of the walk that called. */
static mw_status pass_backward_node(walk *w, mw_node *node, mw_tensor *const *arrived, frame *fr) {
  mw_node *f = node->forward;
  if (!f->entry->op.gradient && (f->entry->op.flags & MW_LINEAR))
    return pass_linear_backward(w, node, arrived);
  if (!f->entry->op.gradient) {
    mw_set_error(w->ctx,
                 "%s: it has no second derivative: its backward is a kernel, and it declares no "
                 "gradient made of other ops",
                 f->entry->op.name);
    mw_failure_note(w->ctx, node, true);
    return MW_FAILED;
  }
  if (mw_node_check_fresh(f)) {
    mw_failure_note(w->ctx, f, true);
    return MW_FAILED;
  }
  mw_tensor *const *dout = node->in + f->n_in + f->n_out + 1;
  for (int i = 0; i < f->n_in; i++) fr->wanted[i] = arrived[i] != NULL;
  int n = 0, n_stops = sort_stops(w, f, dout, fr->stops, &n);
  mw_build made = {0};
  mw_status status = mw_build_gradient(f, dout, fr->wanted, fr->din, &made);
  if (status) mw_failure_note(w->ctx, node, true);
  for (int i = 0; i < f->n_in; i++)
    if (!fr->wanted[i]) fr->din[i] = NULL;
  if (!status)
    status = derive(w->ctx, f->n_in, fr->din, arrived, n, fr->stops, fr->dstops, n_stops);
  for (int i = 0; i < n && !status; i++)
    if (fr->dstops[i]) status = arrive(w, fr->stops[i], mw_retain(fr->dstops[i]), node, -1);
  for (int i = 0; i < n; i++) mw_release(fr->dstops[i]);
  mw_build_free(&made);
  return status;
}

static mw_status pass(walk *w, mw_node *node) {
  mw_context *ctx = w->ctx;
  mw_tensor **arrived = calloc((size_t)node->n_out, sizeof *arrived);
  frame fr = {0};
  mw_status status = arrived ? MW_OK : mw_no_memory(ctx);
  bool any = false;
  for (int j = 0; j < node->n_out && !status; j++) {
    status = total(w, &node->out[j], &arrived[j]);
    any |= arrived[j] != NULL;
  }
  int n_in = node->kind == MW_BACKWARD ? node->forward->n_in : node->n_in;
  if (!status && node->again) {
    status = pass_checkpoint(w, node, arrived[0]);
  } else if (!status && any) {
    status = mw_node_check_fresh(node);
    if (status) mw_failure_note(ctx, node, true);
    if (!status) status = frame_new(&fr, ctx, n_in);
    if (!status)
      status = node->kind == MW_BACKWARD ? pass_backward_node(w, node, arrived, &fr)
                                         : pass_forward_node(w, node, arrived, &fr);
  }
  for (int j = 0; arrived && j < node->n_out; j++) mw_release(arrived[j]);
  free(arrived);
  free(fr.din);
  return status;
}

/* Lets the gradients of the sum over i of <y[i], dy[i]> arrive at x[0 .. n-1]. y[i] may be NULL.
 * With n_stops the walk is partial: it visits nothing below x[0 .. n_stops-1], of which the first n
 * are differentiated in, as if they were independent. */
static mw_status walk_back(walk *w, int n_y, mw_tensor *const *y, mw_tensor *const *dy, int n,
                           mw_tensor *const *x, int n_stops) {
  mw_status status = MW_OK;
  for (int i = 0; i < n && !status; i++) status = mw_table_put(&w->wanted, w->ctx, x[i], i);
  for (int i = 0; i < n_stops && !status; i++) status = mw_table_put(&w->stops, w->ctx, x[i], i);
  for (int i = 0; i < n_y && !status; i++) {
    if (!y[i]) continue;
    if (mw_table_get(&w->stops, y[i]) < 0) status = list_nodes(w, y[i]);
    if (!status) status = arrive(w, y[i], mw_retain(dy[i]), NULL, -1);
  }
  if (!status) status = mark_leading(w);
  for (int k = w->n - 1; k >= 0 && !status; k--)
    if (w->leads[k] && !mw_is_leaf(w->order[k])) status = pass(w, w->order[k]);
  return status;
}

static void release_all(int n, mw_tensor **list) {
  for (int i = 0; i < n; i++) {
    mw_release(list[i]);
    list[i] = NULL;
  }
}

/* The gradients that arrive so, NULL where there is none. A tensor that is there several times in a
 * partial walk has its gradient in one place only, since the caller adds them up. */
static mw_status derive(mw_context *ctx, int n_y, mw_tensor *const *y, mw_tensor *const *dy, int n,
                        mw_tensor *const *x, mw_tensor **dx, int n_stops) {
  walk w = {.ctx = ctx};
  for (int i = 0; i < n; i++) dx[i] = NULL;
  mw_status status = walk_back(&w, n_y, y, dy, n, x, n_stops);
  for (int i = 0; i < n && !status; i++)
    if (!n_stops || mw_table_get(&w.wanted, x[i]) == i) status = total(&w, x[i], &dx[i]);
  if (status) release_all(n, dx);
  walk_free(&w);
  return status;
}

static mw_status check_arguments(mw_context *ctx, const mw_tensor *y, const mw_tensor *dy, int n,
                                 mw_tensor *const *x) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  if (!y) return mw_set_error(ctx, "grad: y is NULL, expected a tensor");
  for (int i = -2; i < n; i++) {
    const mw_tensor *t = i == -2 ? y : i == -1 ? dy : x[i];
    if (t && t->node->ctx != ctx)
      return mw_set_error(ctx, "grad: %s %s belongs to another context", mw_tensor_op(t),
                          mw_spec_text(&t->spec, a));
  }
  if (!mw_is_float(y->spec.dtype))
    return mw_set_error(ctx, "grad: y is %s, expected f32 or f64", mw_spec_text(&y->spec, a));
  if (!dy && mw_spec_count(&y->spec) != 1)
    return mw_set_error(ctx,
                        "grad: y is %s, not a scalar; give dy, a tensor of that shape, or reduce "
                        "y first",
                        mw_spec_text(&y->spec, a));
  if (dy && !mw_spec_equal(&dy->spec, &y->spec))
    return mw_set_error(ctx, "grad: dy is %s, expected %s as y", mw_spec_text(&dy->spec, a),
                        mw_spec_text(&y->spec, b));
  for (int i = 0; i < n; i++)
    if (!mw_is_float(x[i]->spec.dtype))
      return mw_set_error(ctx, "grad: x[%d] is %s, expected f32 or f64", i + 1,
                          mw_spec_text(&x[i]->spec, a));
  return MW_OK;
}

mw_status mw_grad(mw_context *ctx, mw_tensor *y, mw_tensor *dy, int n, mw_tensor *const *x,
                  mw_tensor **dx) {
  for (int i = 0; i < n; i++) dx[i] = NULL;
  if (check_arguments(ctx, y, dy, n, x)) return MW_FAILED;
  mw_tensor *seed = dy ? mw_retain(dy) : mw_constant_filled(ctx, &y->spec, 1);
  if (!seed) return MW_FAILED;
  mw_status status = derive(ctx, 1, &y, &seed, n, x, dx, 0);
  for (int i = 0; i < n && !status; i++)
    if (!dx[i] && !(dx[i] = mw_constant_filled(ctx, &x[i]->spec, 0))) status = MW_FAILED;
  mw_release(seed);
  if (status) release_all(n, dx);
  return status;
}

mw_status mw_grad_reaches(mw_context *ctx, mw_tensor *y, int n, mw_tensor *const *x,
                          bool *reaches) {
  walk w = {.ctx = ctx};
  mw_status status = MW_OK;
  for (int i = 0; i < n && !status; i++) status = mw_table_put(&w.wanted, ctx, x[i], i);
  if (!status) status = list_nodes(&w, y);
  if (!status) status = mark_leading(&w);
  *reaches = !status && tensor_leads(&w, y);
  walk_free(&w);
  return status;
}

/* ---- traces -------------------------------------------------------------------------------- */

/* The position in the trace of an output of a node, which is there already. */
static int traced_at(const mw_table *positions, const mw_node *node) {
  int at = -1;
  for (int j = 0; node && j < node->n_out && at < 0; j++)
    at = mw_table_get(positions, &node->out[j]);
  return at;
}

/* Adds t with its parts, which the walk has newest first. */
static mw_status trace_tensor(walk *w, mw_tensor *t, mw_table *positions, mw_trace *trace) {
  mw_traced *traced = &trace->tensors[trace->n];
  int first = mw_table_get(&w->first, t);
  *traced = (mw_traced){.first = trace->n_parts};
  if (total(w, t, &traced->gradient)) return MW_FAILED;
  traced->tensor = mw_retain(t);
  for (int p = first; p >= 0; p = w->parts[p].next) traced->n_parts++;
  trace->n_parts += traced->n_parts;
  for (int p = first, k = trace->n_parts; p >= 0; p = w->parts[p].next)
    trace->parts[--k] = (mw_traced_part){.user = traced_at(positions, w->parts[p].from),
                                         .input = w->parts[p].input,
                                         .gradient = mw_retain(w->parts[p].gradient)};
  return mw_table_put(positions, w->ctx, t, trace->n++);
}

static mw_status trace_all(walk *w, mw_trace *trace) {
  size_t room = (size_t)w->n_parts + 1; /* each tensor has a part */
  trace->tensors = calloc(room, sizeof *trace->tensors);
  trace->parts = calloc(room, sizeof *trace->parts);
  if (!trace->tensors || !trace->parts) return mw_no_memory(w->ctx);
  mw_table positions = {0};
  mw_status status = MW_OK;
  for (int k = w->n - 1; k >= 0 && !status; k--) {
    mw_node *node = w->order[k];
    for (int j = 0; j < node->n_out && !status; j++)
      if (mw_table_get(&w->first, &node->out[j]) >= 0)
        status = trace_tensor(w, &node->out[j], &positions, trace);
  }
  free(positions.keys);
  free(positions.values);
  return status;
}

mw_status mw_trace_new(mw_context *ctx, mw_tensor *y, int n, mw_tensor *const *x, mw_trace *trace) {
  *trace = (mw_trace){0};
  if (check_arguments(ctx, y, NULL, n, x)) return MW_FAILED;
  mw_tensor *seed = mw_constant_filled(ctx, &y->spec, 1);
  if (!seed) return MW_FAILED;
  walk w = {.ctx = ctx};
  mw_status status = walk_back(&w, 1, &y, &seed, n, x, 0);
  if (!status && tensor_leads(&w, y)) status = trace_all(&w, trace);
  if (status) mw_trace_free(trace);
  walk_free(&w);
  mw_release(seed);
  return status;
}

void mw_trace_free(mw_trace *trace) {
  for (int i = 0; i < trace->n_parts; i++) mw_release(trace->parts[i].gradient);
  for (int i = 0; i < trace->n; i++) {
    mw_release(trace->tensors[i].tensor);
    mw_release(trace->tensors[i].gradient);
  }
  free(trace->tensors);
  free(trace->parts);
  *trace = (mw_trace){0};
}
