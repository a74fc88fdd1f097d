/* build.c: what an op builds of other ops: a composition's outputs, and gradients. */
#include "internal.h"

typedef struct mw_pool {
  mw_tensor **tensors;
  int n, room;
  bool failed;
} mw_pool;

mw_tensor *mw_host_keep(mw_build *b, mw_tensor *t) {
  mw_pool *p = b->pool;
  if (t && p->n == p->room) {
    int room = p->room ? 2 * p->room : 16;
    mw_tensor **grown = realloc(p->tensors, (size_t)room * sizeof(mw_tensor *));
    if (!grown) {
      mw_release(t);
      mw_no_memory(b->context);
      t = NULL;
    } else {
      p->tensors = grown;
      p->room = room;
    }
  }
  if (t) p->tensors[p->n++] = t;
  p->failed |= !t;
  return t;
}

mw_tensor *mw_host_make(mw_build *b, const char *op, int n_inputs, mw_tensor *const *inputs,
                        int n_settings, const mw_setting *settings) {
  if (((mw_pool *)b->pool)->failed) return NULL; /* the first message is the one that counts */
  return mw_host_keep(b, mw_apply(b->context, op, n_inputs, inputs, n_settings, settings));
}

mw_tensor *mw_host_make_constant(mw_build *b, const mw_spec *spec, double value) {
  if (((mw_pool *)b->pool)->failed) return NULL;
  return mw_host_keep(b, mw_constant_filled(b->context, spec, value));
}

void mw_build_fail(mw_build *b) { ((mw_pool *)b->pool)->failed = true; }
bool mw_build_failed(const mw_build *b) { return ((const mw_pool *)b->pool)->failed; }

void mw_build_free(mw_build *b) {
  mw_pool *p = b->pool;
  if (!p) return;
  for (int i = 0; i < p->n; i++) mw_release(p->tensors[i]);
  free(p->tensors);
  free(p);
  b->pool = NULL;
}

/* The build of a node's op. */
static mw_status build_start(mw_build *b, const mw_node *node, mw_tensor **out) {
  *b = (mw_build){.host = &mw_host_table,
                  .context = node->ctx,
                  .op = &node->entry->op,
                  .attrs = node->attrs,
                  .n_in = node->n_in,
                  .n_out = node->n_out,
                  .in = node->in,
                  .out = out,
                  .pool = calloc(1, sizeof(mw_pool))};
  if (b->op->flags & MW_VARIES) node->ctx->varied++;
  return b->pool ? MW_OK : mw_no_memory(node->ctx);
}

mw_status mw_build_gradient(mw_node *f, mw_tensor *const *dout, const bool *wanted, mw_tensor **din,
                            mw_build *b) {
  mw_tensor *outs[MW_MAX_ARGS];
  for (int j = 0; j < f->n_out; j++) outs[j] = &f->out[j];
  if (build_start(b, f, outs)) return MW_FAILED;
  b->dout = dout;
  b->wanted = wanted;
  b->din = din;
  const char *before = mw_origin_set(f->ctx, f->origin); /* a gradient is from where its node is */
  mw_status status = b->op->gradient(b);
  mw_origin_set(f->ctx, before);
  if (status || mw_build_failed(b)) {
    mw_prefix_error(f->ctx, b->op->name);
    return MW_FAILED;
  }
  for (int i = 0; i < f->n_in; i++) {
    char got[MW_SPEC_TEXT], want[MW_SPEC_TEXT];
    if (!wanted[i] || !din[i] || mw_spec_equal(&din[i]->spec, &f->in[i]->spec)) continue;
    return mw_set_error(f->ctx, "%s: its gradient of input %d is %s, expected %s", b->op->name,
                        i + 1, mw_spec_text(&din[i]->spec, got),
                        mw_spec_text(&f->in[i]->spec, want));
  }
  return MW_OK;
}

mw_status mw_build_outputs(const mw_node *node, mw_tensor **out) {
  mw_build b;
  for (int j = 0; j < node->n_out; j++) out[j] = NULL;
  if (build_start(&b, node, out)) return MW_FAILED;
  mw_status status = MW_OK;
  if (b.op->compose) status = b.op->compose(&b);
  else out[0] = mw_formula(&b, b.op->formula);
  if (mw_build_failed(&b)) status = MW_FAILED;
  for (int j = 0; j < node->n_out && !status; j++)
    if (!out[j]) status = mw_set_error(node->ctx, "its composition gives no output %d", j + 1);
  for (int j = 0; j < node->n_out && !status; j++) mw_retain(out[j]);
  mw_build_free(&b);
  return status;
}
