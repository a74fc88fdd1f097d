/* checkpoint.c: parts of a graph that are computed again: by a backward pass, instead of keeping them,
 * and for their time.
 *
 * A checkpoint is a view of y, an op that orders (MW_ORDERS), whose other inputs are the boundary:
 * the tensors of which y was made. The walk of the gradient does not go into y. It makes a copy of
 * what lies between, in which after(b, dy) stands for each tensor b of the boundary: the same
 * value, but another node, so that the copy is not merged with the original, and one that is not
 * there before dy is, so that the copy is run when its turn comes in the backward pass. */
#include "internal.h"

static mw_op_entry *find_orderer(mw_context *ctx) {
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->op.flags & MW_ORDERS) return ctx->ops[i];
  mw_set_error(ctx, "no op gives steps an order (flag MW_ORDERS)");
  return NULL;
}

mw_tensor *mw_after(mw_tensor *t, int n, mw_tensor *const *others) {
  mw_context *ctx = t->node->ctx;
  mw_op_entry *entry = find_orderer(ctx);
  mw_tensor **inputs = entry ? malloc(((size_t)n + 1) * sizeof *inputs) : NULL;
  if (!inputs) {
    if (entry) mw_no_memory(ctx);
    return NULL;
  }
  inputs[0] = t;
  for (int i = 0; i < n; i++) inputs[i + 1] = others[i];
  mw_node *node = mw_node_forward(ctx, entry, n + 1, inputs, 0, NULL);
  free(inputs);
  return node ? &node->out[0] : NULL;
}

/* ---- what lies inside ---------------------------------------------------------------------- */

typedef struct visit {
  mw_node *node;
  int next;
} visit;

typedef struct inside {
  mw_context *ctx;
  uint64_t begin;    /* nodes up to this one are outside; 0: the boundary is known, or the leaves */
  bool stale_too;    /* a copy is made of what is not fresh, too */
  mw_table nodes;    /* inside -> position in order */
  mw_node **order;   /* inputs before what is made of them */
  size_t n, room;    /* of order */
  mw_table boundary; /* tensor -> position in edge */
  mw_tensor **edge;  /* what was met of it */
  size_t n_edge, edge_room;
  visit *stack;
  size_t depth, stack_room;
} inside;

static void inside_free(inside *in) {
  free(in->nodes.keys);
  free(in->nodes.values);
  free(in->boundary.keys);
  free(in->boundary.values);
  free(in->order);
  free(in->edge);
  free(in->stack);
}

static mw_status room_for(mw_context *ctx, void *array, size_t *room, size_t n, size_t size) {
  if (n < *room) return MW_OK;
  size_t grown_room = *room ? 2 * *room : 64;
  void *grown = realloc(*(void **)array, grown_room * size);
  if (!grown) return mw_no_memory(ctx);
  *(void **)array = grown;
  *room = grown_room;
  return MW_OK;
}

static mw_status enter(inside *in, mw_node *node) {
  if (mw_table_get(&in->nodes, node) >= 0) return MW_OK;
  if (room_for(in->ctx, &in->stack, &in->stack_room, in->depth, sizeof *in->stack))
    return MW_FAILED;
  in->stack[in->depth++] = (visit){.node = node};
  return mw_table_put(&in->nodes, in->ctx, node, INT32_MAX);
}

static mw_status meet(inside *in, mw_tensor *t) {
  if (mw_table_get(&in->boundary, t) >= 0) return MW_OK;
  if (!mw_is_leaf(t->node) && t->node->born > in->begin) return enter(in, t->node);
  if (room_for(in->ctx, &in->edge, &in->edge_room, in->n_edge, sizeof *in->edge)) return MW_FAILED;
  in->edge[in->n_edge] = t;
  return mw_table_put(&in->boundary, in->ctx, t, (int)in->n_edge++);
}

/* How many inputs a backward node has from the node that it differentiates. */
static int borrowed(const mw_node *node) {
  return node->kind == MW_BACKWARD ? node->forward->n_in + node->forward->n_out + 1 : 0;
}

/* All nodes from y down to the boundary. The node that a backward node differentiates is inside
 * with it, wherever it was made: the copy of the one needs a copy of the other. */
static mw_status list_inside(inside *in, mw_tensor *y) {
  mw_status status = enter(in, y->node);
  while (in->depth && !status) {
    visit *top = &in->stack[in->depth - 1];
    mw_node *node = top->node;
    int i = top->next++ - 1; /* -1: what it differentiates */
    if (i < 0) {
      if (node->forward) status = enter(in, node->forward);
    } else if (borrowed(node) + i < node->n_in) {
      mw_tensor *t = node->in[borrowed(node) + i];
      if (t) status = meet(in, t);
    } else {
      in->depth--;
      status = room_for(in->ctx, &in->order, &in->room, in->n, sizeof *in->order);
      if (status) break;
      in->order[in->n] = node;
      status = mw_table_put(&in->nodes, in->ctx, node, (int)in->n++);
    }
  }
  return status;
}

/* ---- making a checkpoint ------------------------------------------------------------------- */

/* No two are alike: it is the number of the call too. */
uint64_t mw_checkpoint_begin(mw_context *ctx) { return ++ctx->born; }

mw_tensor *mw_checkpoint(mw_context *ctx, uint64_t begin, mw_tensor *y) {
  if (mw_is_leaf(y->node) || y->node->born <= begin || !mw_is_float(y->spec.dtype))
    return mw_retain(y);
  inside in = {.ctx = ctx, .begin = begin};
  mw_tensor *checkpoint = NULL;
  if (!list_inside(&in, y)) checkpoint = mw_after(y, (int)in.n_edge, in.edge);
  if (checkpoint) checkpoint->node->again = begin;
  inside_free(&in);
  return checkpoint;
}

/* ---- computing again ----------------------------------------------------------------------- */

/* What stands for t in the copy; outside of the boundary it is an output of a copied node. */
static mw_tensor *copy_of(const inside *in, mw_node *const *copied, mw_tensor *const *copies,
                          mw_tensor *t) {
  if (!t) return NULL;
  int edge = mw_table_get(&in->boundary, t);
  if (edge >= 0) return copies[edge];
  return &copied[mw_table_get(&in->nodes, t->node)]->out[t->index];
}

static mw_node *copy_node(const inside *in, mw_node *const *copied, mw_tensor *const *copies,
                          mw_node *node) {
  int first = borrowed(node), n = node->n_in - first;
  mw_tensor **inputs = calloc((size_t)n + 1, sizeof *inputs);
  bool *wanted = calloc((size_t)node->n_out + 1, sizeof *wanted);
  mw_node *copy = NULL;
  if (!inputs || !wanted) mw_no_memory(in->ctx);
  if (inputs && wanted && (in->stale_too || !mw_node_check_fresh(node))) {
    for (int i = 0; i < n; i++) inputs[i] = copy_of(in, copied, copies, node->in[first + i]);
    for (int i = 0; i < node->n_out; i++) wanted[i] = node->out[i].spec.dtype != MW_NONE;
    copy = node->forward
               ? mw_node_backward(copied[mw_table_get(&in->nodes, node->forward)], inputs, wanted)
               : mw_node_like(node, inputs);
  }
  free(inputs);
  free(wanted);
  return copy;
}

static mw_status check_refused(const inside *in, const mw_table *refused) {
  for (size_t k = 0; k < in->n; k++)
    for (int j = 0; j < in->order[k]->n_out; j++)
      if (mw_table_get(refused, &in->order[k]->out[j]) >= 0)
        return mw_set_error(in->ctx,
                            "grad: x[%d], the result of %s, was made inside a checkpointed "
                            "function: it has no gradient outside",
                            mw_table_get(refused, &in->order[k]->out[j]) + 1,
                            mw_tensor_op(&in->order[k]->out[j]));
  return MW_OK;
}

/* Checkpoints inside of what is copied: the copies are of a call of their own, and so have another
 * number, the same one for all of one number. `first` has the first copy of each. */
static mw_status number_copy(const inside *in, mw_table *first, mw_node *const *copied, int k) {
  const mw_node *node = in->order[k];
  if (!node->again) return MW_OK;
  const void *key = (const void *)(uintptr_t)node->again;
  int i = mw_table_get(first, key);
  if (i < 0 && mw_table_put(first, in->ctx, key, k)) return MW_FAILED;
  copied[k]->again = i < 0 ? copied[k]->born : copied[i]->again;
  return MW_OK;
}

/* y[i] is the copy of tensors[i]; `copies` stand for the boundary. */
static mw_status copy_inside(const inside *in, mw_tensor *const *copies, int n,
                             mw_tensor *const *tensors, mw_tensor **y) {
  mw_node **copied = calloc(in->n + 1, sizeof(mw_node *));
  mw_table numbers = {0};
  if (!copied) return mw_no_memory(in->ctx);
  mw_status status = MW_OK;
  for (size_t k = 0; k < in->n && !status; k++) {
    copied[k] = copy_node(in, copied, copies, in->order[k]);
    if (!copied[k]) status = MW_FAILED;
    else status = number_copy(in, &numbers, copied, (int)k);
  }
  for (int i = 0; i < n && !status; i++) y[i] = mw_retain(copy_of(in, copied, copies, tensors[i]));
  for (size_t k = 0; k < in->n; k++)
    if (copied[k]) mw_release(&copied[k]->out[0]);
  free(copied);
  free(numbers.keys);
  free(numbers.values);
  return status;
}

mw_status mw_compute_again(mw_context *ctx, int n_y, mw_node *const *checkpoints,
                           mw_tensor *const *dy, const mw_table *refused, mw_again *again) {
  inside in = {.ctx = ctx};
  size_t most = 0;
  for (int i = 0; i < n_y; i++) most += (size_t)checkpoints[i]->n_in;
  *again = (mw_again){.n_y = n_y, .edge = calloc(2 * (most + (size_t)n_y), sizeof(mw_tensor *))};
  if (!again->edge) return mw_no_memory(ctx);
  again->copies = again->edge + most;
  again->y = again->copies + most;
  mw_tensor **of = again->y + n_y;
  mw_status status = MW_OK;
  for (int i = 0; i < n_y; i++) {
    for (int j = 1; j < checkpoints[i]->n_in && !status; j++) {
      mw_tensor *t = checkpoints[i]->in[j];
      if (mw_table_get(&in.boundary, t) >= 0) continue;
      again->edge[again->n] = t;
      again->copies[again->n] = mw_after(t, n_y, dy);
      if (!again->copies[again->n]) status = MW_FAILED;
      else status = mw_table_put(&in.boundary, ctx, t, again->n++);
    }
  }
  for (int i = 0; i < n_y && !status; i++) status = list_inside(&in, of[i] = checkpoints[i]->in[0]);
  if (!status) status = check_refused(&in, refused);
  if (!status) status = copy_inside(&in, again->copies, n_y, of, again->y);
  inside_free(&in);
  return status;
}

void mw_again_free(mw_again *again) {
  for (int i = 0; i < again->n; i++) mw_release(again->copies[i]);
  for (int i = 0; again->y && i < again->n_y; i++) mw_release(again->y[i]);
  free(again->edge);
}

mw_status mw_uncomputed(mw_context *ctx, int n, mw_tensor *const *tensors, mw_tensor **copies) {
  inside in = {.ctx = ctx, .stale_too = true};
  mw_status status = MW_OK;
  for (int i = 0; i < n; i++) copies[i] = NULL;
  for (int i = 0; i < n && !status; i++) {
    if (tensors[i]->node->ctx != ctx) status = mw_set_error(ctx, "a tensor of another context");
    else
      status = mw_is_leaf(tensors[i]->node) ? meet(&in, tensors[i]) : list_inside(&in, tensors[i]);
  }
  if (!status) status = copy_inside(&in, in.edge, n, tensors, copies);
  inside_free(&in);
  for (int i = 0; i < n && status; i++) {
    mw_release(copies[i]);
    copies[i] = NULL;
  }
  return status;
}
