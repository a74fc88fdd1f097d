/* derive.c: updates that follow from the structure of what they are made of.
 *
 * The recipe of an update, a loss and the parameters perhaps, is collected, and its structure is
 * the key of the program of the whole update: of gradients and new values, which are not there. The
 * program knows for each of its leaves where the recipe's collection has it. What else the new
 * values were made of are constants, which the program keeps.
 *
 * This rests on what builds the update being a function of that structure. Gradients are, as the
 * functions of an op see specs and attributes alone; those that are Lua's may do otherwise
 * (MW_VARIES), and what they had a part in is not remembered. Neither are checkpoints, and runs that
 * are watched, whose messages say where each step was built. */
#include <string.h>

#include "internal.h"

enum { MOST_KEPT = 1 << 20 }; /* bytes of constants; larger ones are built anew each time */

/* A tensor of the recipe's collection. */
static mw_tensor *tensor_at(const mw_collection *c, mw_ref r) {
  if (mw_ref_is_leaf(r)) return c->leaves[mw_ref_leaf(r)];
  return &c->steps[mw_ref_step(r)]->out[mw_ref_output(r)];
}

mw_status mw_update_again(mw_context *ctx, const mw_recipe *recipe, bool *done) {
  mw_collection *c = &ctx->recipe;
  *done = ctx->builds_again = ctx->failed_unseen = false;
  mw_program *p = ctx->watching || mw_collect_recipe(ctx, recipe, c) ? NULL : mw_cache_find(ctx, c);
  if (!p) {
    ctx->varied_before = ctx->varied;
    return MW_OK; /* an error is met again by who builds the update, with its place */
  }
  for (int i = 0; i < p->n_leaves; i++)
    p->bound[i] = p->leaves[i] ? p->leaves[i] : tensor_at(c, p->sources[i]);
  *done = true;
  mw_status status = mw_run_request(p, p->bound, NULL, recipe->n, recipe->tensors);
  if (!ctx->keeps_failures || !ctx->failed_unseen) return status;
  *done = false; /* it is built to fail again, with the node that does */
  ctx->builds_again = true;
  return MW_OK;
}

/* Where the recipe's collection has its tensors, by their addresses. */
static mw_status list_sources(mw_context *ctx, const mw_collection *c, mw_table *at,
                              mw_ref **refs) {
  size_t n = (size_t)c->n_leaves;
  for (int k = 0; k < c->n_steps; k++) n += (size_t)c->steps[k]->n_out;
  *refs = malloc((n + 1) * sizeof **refs);
  if (!*refs) return mw_no_memory(ctx);
  int used = 0;
  for (int i = 0; i < c->n_leaves; i++) {
    (*refs)[used] = mw_ref_to_leaf(i);
    if (mw_table_put(at, ctx, c->leaves[i], used++)) return MW_FAILED;
  }
  for (int k = 0; k < c->n_steps; k++)
    for (int j = 0; j < c->steps[k]->n_out; j++) {
      const mw_tensor *t = &c->steps[k]->out[j];
      (*refs)[used] = mw_ref_to_output(k, j);
      if (t->storage && mw_table_get(at, t) < 0 && mw_table_put(at, ctx, t, used++))
        return MW_FAILED;
    }
  return MW_OK;
}

/* What the same rule makes again with the same value. */
static bool may_be_kept(const mw_tensor *t) {
  return t->node->kind == MW_CONSTANT && !t->node->draws && t->storage && !t->storage->drop;
}

/* The program for an update, found from now on by its recipe's key; NULL where it cannot be. */
static mw_program *remember(mw_context *ctx, const mw_collection *recipe, const mw_collection *c,
                            const mw_table *at, const mw_ref *refs) {
  size_t kept = 0;
  for (int i = 0; i < c->n_leaves; i++) {
    const mw_tensor *t = c->leaves[i];
    if (mw_table_get(at, t) >= 0) continue;
    if (!may_be_kept(t)) return NULL;
    kept += t->storage->bytes;
  }
  mw_program *p = kept <= MOST_KEPT ? mw_compile(ctx, c) : NULL;
  if (!p) return NULL;
  size_t n = (size_t)p->n_leaves + 1;
  uint64_t *key = malloc(recipe->key_words * sizeof *key);
  p->leaves = calloc(n, sizeof(mw_tensor *));
  p->sources = calloc(n, sizeof *p->sources);
  p->bound = calloc(n, sizeof(mw_tensor *));
  if (!key || !p->leaves || !p->sources || !p->bound || mw_program_note_origins(p, c)) {
    free(key);
    mw_program_destroy(p);
    return NULL;
  }
  for (int i = 0; i < p->n_leaves; i++) {
    int found = mw_table_get(at, c->leaves[i]);
    if (found >= 0) p->sources[i] = refs[found];
    else p->leaves[i] = mw_retain(c->leaves[i]);
  }
  free(p->key);
  p->key = memcpy(key, recipe->key, recipe->key_words * sizeof *key);
  p->key_words = recipe->key_words;
  p->hash = mw_key_hash(p->key, p->key_words);
  mw_cache_add(ctx, p);
  return p;
}

mw_status mw_update_derived(mw_context *ctx, const mw_recipe *recipe, int n_updates,
                            mw_tensor *const *targets, mw_tensor *const *values) {
  const mw_request request = {.n = recipe->n,
                              .n_updates = n_updates,
                              .tensors = recipe->tensors,
                              .targets = targets,
                              .values = values};
  mw_collection *c = &ctx->collection;
  mw_table at = {0};
  mw_ref *refs = NULL;
  bool known = !ctx->watching && !ctx->builds_again && ctx->varied == ctx->varied_before &&
               !mw_collect_recipe(ctx, recipe, &ctx->recipe) &&
               !list_sources(ctx, &ctx->recipe, &at, &refs);
  mw_status status = known ? mw_collect(ctx, &request, c) : MW_OK;
  mw_program *p = known && !status ? remember(ctx, &ctx->recipe, c, &at, refs) : NULL;
  free(at.keys);
  free(at.values);
  free(refs);
  if (status) return MW_FAILED;
  if (p) return mw_run_request(p, c->leaves, c->steps, recipe->n, recipe->tensors);
  return mw_update(ctx, recipe->n, recipe->tensors, n_updates, targets, values);
}
