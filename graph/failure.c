/* failure.c: remembers the node at which the last failure was, for whoever wants to look at it. */
#include <string.h>

#include "internal.h"

bool mw_failures_keep(mw_context *ctx, bool on) {
  const bool before = ctx->keeps_failures;
  ctx->keeps_failures = on;
  if (!on) mw_failure_forget(ctx);
  return before;
}

const mw_failure *mw_failure_last(const mw_context *ctx) {
  return ctx->failure.at ? &ctx->failure : NULL;
}

void mw_failure_forget(mw_context *ctx) {
  mw_failure old = ctx->failure;
  ctx->failure = (mw_failure){0};
  mw_release(old.at);
  free((void *)(uintptr_t)old.message);
}

void mw_failure_note(mw_context *ctx, mw_node *node, bool of_gradient) {
  if (!ctx->keeps_failures) return;
  mw_failure_forget(ctx);
  ctx->failed_unseen = !node;
  char *message = node ? strdup(mw_error_here(ctx)) : NULL;
  if (!message) return; /* the failure itself is what matters */
  ctx->failure =
      (mw_failure){.at = mw_retain(&node->out[0]), .of_gradient = of_gradient, .message = message};
}

void mw_failure_note_step(const mw_program *p, mw_node *const *nodes, int step) {
  mw_failure_note(p->ctx, nodes ? nodes[p->steps[step].node] : NULL, false);
}
