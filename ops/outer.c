/* outer.c: the outer product of vectors. */
/* real: f32 */
#include "../graph/moonwalk.h"

static mw_status infer(mw_infer *it) {
  mw_spec a = it->in[0], b = it->in[1], batch;
  char text[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  for (int i = 0; i < 2; i++)
    if (it->in[i].rank == 0 || it->in[i].rank == MW_MAX_RANK)
      return mw_fail(it, "%s is %s, expected a vector, or a batch of vectors in its last axis",
                     it->op->inputs[i].name, it->host->spec_text(&it->in[i], text));
  if (it->in[0].dtype == MW_BOOL)
    return mw_fail(it, "a is %s, expected numbers; use :cast \"f32\"",
                   it->host->spec_text(&it->in[0], text));
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  a.rank--;
  b.rank--;
  if (mw_broadcast(&a, &b, &batch)) return MW_OK;
  return mw_fail(it, "a is %s and b is %s: the axes before the last do not broadcast",
                 it->host->spec_text(&it->in[0], text), it->host->spec_text(&it->in[1], other));
}

static mw_status compose(mw_build *b) {
  const mw_setting column = mw_list("axes", 1, (int64_t[]){-1});
  const mw_setting row = mw_list("axes", 1, (int64_t[]){-2});
  b->out[0] = mw_make2(b, "mul", mw_make(b, "unsqueeze", 1, &b->in[0], 1, &column),
                       mw_make(b, "unsqueeze", 1, &b->in[1], 1, &row));
  return MW_OK;
}

static const mw_op outer_op = {
    .name = "outer",
    .version = 1,
    .doc =
        "The outer product: y[.., i, j] = a[.., i] b[.., j]. Axes before the last one broadcast.",
    .example = "mw.outer(mw.randn{3}, mw.randn{2})",
    .cases =
        "mw.outer(mw.randn{2,3}, mw.randn{2,5})\n"
        "mw.outer(mw.randn{3,1,2}, mw.randn{7})\n"
        "mw.outer(mw.randn{1}, mw.randn{1})\n"
        "mw.outer(mw.randn{0}, mw.randn{3})",
    .inputs = {{"a"}, {"b"}},
    .outputs = {{"y"}},
    .infer = infer,
    .compose = compose,
};

MW_PLUGIN(&outer_op)
