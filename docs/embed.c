/* embed.c: a line through the origin, fitted to three points, from C.
 *
 *     cc embed.c $(pkg-config --cflags --libs moonwalk) -o embed && ./embed
 *
 * It prints the loss (r^2 / 3, summed) and its derivative while w goes to sum(xt) / sum(x^2). */
#include <moonwalk.h>
#include <stdio.h>
#include <stdlib.h>

static mw_context *ctx;

static mw_tensor *apply(const char *op, int n, mw_tensor **inputs) {
  mw_tensor *y = mw_apply(ctx, op, n, inputs, 0, NULL);
  if (y) return y;
  fprintf(stderr, "%s\n", mw_error(ctx));
  exit(1);
}

static float number(const mw_tensor *t) { return *(const float *)mw_tensor_data(t); }

/* One step of gradient descent, w = w - 0.1 dw. Nodes are cheap and the program that computes
 * them is found again by their structure, so that each step may build its graph anew. */
static void step(mw_tensor *x, mw_tensor *t, mw_tensor *w, mw_tensor *rate) {
  mw_tensor *y = apply("mul", 2, (mw_tensor *[]){x, w});
  mw_tensor *r = apply("sub", 2, (mw_tensor *[]){y, t});
  mw_tensor *square = apply("mul", 2, (mw_tensor *[]){r, r});
  mw_tensor *loss = apply("mean", 1, &square), *dw;
  if (mw_grad(ctx, loss, NULL, 1, &w, &dw)) exit(1);
  mw_tensor *change = apply("mul", 2, (mw_tensor *[]){rate, dw});
  mw_tensor *next = apply("sub", 2, (mw_tensor *[]){w, change});

  /* Loss, gradient and update in one program. */
  if (mw_update(ctx, 2, (mw_tensor *[]){loss, dw}, 1, &w, &next)) exit(1);
  printf("loss %.4f  dw %+.4f  w %.4f\n", number(loss), number(dw), number(w));

  mw_tensor *made[] = {y, r, square, loss, dw, change, next};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) mw_release(made[i]);
}

int main(void) {
  ctx = mw_context_new();
  if (!ctx) return 1;
  mw_spec three = mw_spec_of(MW_F32, 1, (int64_t[]){3}), scalar = mw_spec_of(MW_F32, 0, NULL);
  mw_tensor *x = mw_constant(ctx, &three, (float[]){1, 2, 3});
  mw_tensor *t = mw_constant(ctx, &three, (float[]){2, 3, 7});
  mw_tensor *w = mw_parameter(ctx, &scalar, (float[]){2}, "w");
  mw_tensor *rate = mw_constant(ctx, &scalar, (float[]){0.1f});
  for (int i = 0; i < 5; i++) step(x, t, w, rate);
  mw_release(rate), mw_release(w), mw_release(t), mw_release(x);
  mw_context_free(ctx);
  return 0;
}
