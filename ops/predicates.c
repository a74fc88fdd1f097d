/* predicates.c: questions about each element of one tensor, which bool answers. */
/* real: f32 */
#include "../graph/moonwalk.h"

static mw_status expect_bool(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].dtype == MW_BOOL) return MW_OK;
  return mw_fail(it, "x is %s, expected bool, which comparisons give",
                 it->host->spec_text(&it->in[0], text));
}

static mw_status expect_numbers(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].dtype != MW_BOOL) return MW_OK;
  return mw_fail(it, "x is %s, expected numbers", it->host->spec_text(&it->in[0], text));
}

static mw_status not_compose(mw_build *b) {
  const mw_spec spec = {.dtype = MW_BOOL};
  b->out[0] = mw_make2(b, "ne", b->in[0], b->host->make_constant(b, &spec, 1));
  return MW_OK;
}

static const mw_op not_op = {
    .name = "logical_not",
    .version = 1,
    .doc = "Whether x is false.",
    .example = "mw.logical_not(mw.gt(mw.randn{2,3}, 0))",
    .cases =
        "mw.logical_not(mw.gt(mw.randn{3,1,5}, 0))\n"
        "mw.logical_not(mw.gt(mw.randn{}, 0))\n"
        "mw.logical_not(mw.gt(mw.randn{0,3}, 0))",
    .inputs = {{"x", .doc = "bool"}},
    .outputs = {{"y", .doc = "bool"}},
    .infer = expect_bool,
    .compose = not_compose,
};

/* A third of the numbers are NaN or infinite. */
#define SPECIAL(shape) "mw.div(mw.round(mw.randn" shape "), mw.round(mw.randn" shape "))"

#define CASES(name) \
  .example = "mw." name "(mw.log(mw.randn{2,3}))",                  \
  .cases = "mw." name "(" SPECIAL("{3,1,5}") ")\n"                  \
           "mw." name "(" SPECIAL("{7}") ")\n"                      \
           "mw." name "(mw.tensor({1, 0, -3}, 'i32'))\n"            \
           "mw." name "(mw.randn{0,3})"

#define PREDICATE \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y", .doc = "bool"}}, .infer = expect_numbers

static const mw_op isnan_op = {
    .name = "isnan",
    .doc = "Whether x is NaN, not a number. An integer never is.",
    CASES("isnan"),
    .formula = "x != x",
    PREDICATE,
};

/* An infinite number less itself is NaN, a finite one 0. */
static const mw_op isfinite_op = {
    .name = "isfinite",
    .doc = "Whether x is neither infinite nor NaN. An integer always is.",
    CASES("isfinite"),
    .formula = "x - x == 0",
    PREDICATE,
};

static const mw_op isinf_op = {
    .name = "isinf",
    .doc = "Whether x is inf or -inf. An integer never is.",
    CASES("isinf"),
    .formula = "x == x && x - x != 0",
    PREDICATE,
};

MW_PLUGIN(&not_op, &isnan_op, &isfinite_op, &isinf_op)
