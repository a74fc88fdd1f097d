/* attrs.c: attributes by their schema: defaults, every type, bounds, refusals; and what the
 * registry refuses to register. */
#include <math.h>
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

typedef struct settings {
  int64_t count, axis;
  double rate;
  bool flag;
  int mode;
  char label[MW_MAX_TEXT];
  mw_ints sizes, axes, required;
} settings;

#define FIELD(name) offsetof(settings, name)
static const mw_attr schema[] = {
    {.name = "count",
     .type = MW_INT,
     .offset = FIELD(count),
     .initial = "3",
     .least = 1,
     .most = 9},
    {.name = "axis", .type = MW_AXIS, .offset = FIELD(axis), .initial = "-1"},
    {.name = "rate",
     .type = MW_FLOAT,
     .offset = FIELD(rate),
     .initial = "0.25",
     .least = 0,
     .most = INFINITY},
    {.name = "flag", .type = MW_BOOLEAN, .offset = FIELD(flag), .initial = "true"},
    {.name = "mode",
     .type = MW_CHOICE,
     .offset = FIELD(mode),
     .initial = "sum",
     .choices = "mean|sum|none"},
    {.name = "label", .type = MW_TEXT, .offset = FIELD(label), .initial = "ab"},
    {.name = "sizes",
     .type = MW_INTS,
     .offset = FIELD(sizes),
     .initial = "1,2",
     .lengths = "1|2|4",
     .least = 1,
     .most = INFINITY},
    {.name = "axes", .type = MW_AXES, .offset = FIELD(axes), .initial = ""},
    {.name = "required", .type = MW_INTS, .offset = FIELD(required), .doc = "what it cannot guess"},
    {0}};

static settings seen;
static mw_status keep_attrs(mw_infer *it) {
  seen = *(const settings *)it->attrs;
  it->out[0] = it->in[0];
  return MW_OK;
}
static const mw_op t_attrs = {.name = "t_attrs",
                              .version = 1,
                              .doc = "none",
                              .example = "none",
                              .inputs = {{"x"}},
                              .outputs = {{"y"}},
                              .attrs = schema,
                              .attrs_size = sizeof(settings),
                              .infer = keep_attrs,
                              .forward = twice_forward};

static mw_context *ctx;
static mw_tensor *x;

/* Applies with `required` and one more setting; "" when that was accepted, or the message. */
static const char *with(mw_setting setting) {
  mw_setting two[] = {mw_int("required", 1), setting};
  mw_tensor *y = mw_apply(ctx, "t_attrs", 1, &x, 2, two);
  mw_release(y);
  return y ? "" : mw_error(ctx);
}

static void refuses(mw_setting setting, const char *message) {
  is_text(with(setting), message, "%s", message);
}

static void test_defaults(void) {
  is_text(with(mw_bool("flag", true)), "", "the defaults are accepted");
  is_int(seen.count, 3, "int");
  is_int(seen.axis, -1, "axis");
  near(seen.rate, 0.25, 0, "float");
  ok(seen.flag, "boolean");
  is_int(seen.mode, 1, "choice, by its position");
  is_text(seen.label, "ab", "text");
  ok(seen.sizes.count == 2 && seen.sizes.at[0] == 1 && seen.sizes.at[1] == 2, "list");
  is_int(seen.axes.count, 0, "empty list");
}

static void test_settings(void) {
  is_text(with(mw_float("count", 7)), "", "a whole number for an int");
  is_int(seen.count, 7, "is taken");
  is_text(with(mw_int("rate", 2)), "", "an int for a float");
  near(seen.rate, 2, 0, "is taken");
  is_text(with(mw_text("mode", "none")), "", "a choice");
  is_int(seen.mode, 2, "by name");
  is_text(with(mw_int("sizes", 5)), "", "a number for a list");
  ok(seen.sizes.count == 1 && seen.sizes.at[0] == 5, "is a list of one");
  is_text(with(mw_list("sizes", 4, (int64_t[]){1, 2, 3, 4})), "", "a list of an allowed length");
  is_int(seen.sizes.at[3], 4, "has all of it");
}

static void test_refusals(void) {
  refuses(mw_int("count", 0), "t_attrs: count is 0, expected between 1 and 9");
  refuses(mw_float("count", 1.5),
          "t_attrs: count is a number that is no integer, expected an integer");
  refuses(mw_float("count", NAN),
          "t_attrs: count is a number that is no integer, expected an integer");
  refuses(mw_float("rate", -1), "t_attrs: rate is -1, expected at least 0");
  refuses(mw_float("rate", NAN), "t_attrs: rate is nan, expected at least 0");
  refuses(mw_int("flag", 1), "t_attrs: flag is an integer, expected true or false");
  refuses(mw_text("mode", "median"), "t_attrs: mode is \"median\", expected one of mean|sum|none");
  refuses(mw_text("mode", "mea"), "t_attrs: mode is \"mea\", expected one of mean|sum|none");
  refuses(mw_list("sizes", 3, (int64_t[]){1, 2, 3}),
          "t_attrs: sizes has 3 entries, expected 1, 2 or 4");
  refuses(mw_list("sizes", 2, (int64_t[]){1, 0}), "t_attrs: sizes is 0, expected at least 1");
  refuses(mw_list("axes", 99, (int64_t[MW_MAX_INTS]){0}),
          "t_attrs: axes has 99 entries, at most 16 are possible");
  refuses(mw_text("sizes", "1"),
          "t_attrs: sizes is a string, expected an integer or a list of integers");
  refuses(mw_int("cuont", 1),
          "t_attrs: unknown attribute 'cuont'; did you mean 'count'? It has count, axis, rate, "
          "flag, mode, label, sizes, axes, required");
  char longer[300];
  memset(longer, 'a', sizeof longer);
  longer[299] = '\0';
  refuses(mw_text("label", longer), "t_attrs: label has 299 bytes, at most 127 are possible");
  ok(!mw_apply(ctx, "t_attrs", 1, &x, 0, NULL), "a required attribute that is missing");
  is_text(mw_error(ctx), "t_attrs: attribute 'required' is missing: what it cannot guess",
          "is named with its doc");
}

static void test_registering(void) {
  static const mw_attr outside[] = {
      {.name = "far", .type = MW_INT, .offset = sizeof(settings) - 4, .initial = "1"}, {0}};
  static const mw_attr wrong_default[] = {
      {.name = "n", .type = MW_INT, .offset = 0, .initial = "many"}, {0}};
  struct {
    const char *message;
    mw_op op;
  } bad[] = {
      {"an op's name is \"Bad Name\", expected [a-z][a-z0-9_]*", t_attrs},
      {"op t_bad lacks an infer function", t_attrs},
      {"op t_bad lacks a forward function", t_attrs},
      {"op t_bad lacks an output", t_attrs},
      {"t_bad: attribute far lies outside the", t_attrs},
      {"t_bad: the default \"many\" of n is not an integer", t_attrs},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) bad[i].op.name = i ? "t_bad" : "Bad Name";
  bad[1].op.infer = NULL;
  bad[2].op.forward = NULL;
  bad[3].op.outputs[0].name = NULL;
  bad[4].op.attrs = outside;
  bad[5].op.attrs = wrong_default;
  mw_plugin *plugin = mw_plugin_begin(ctx, "bad", NULL, NULL);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    mw_status status = mw_host_register_op(plugin, &bad[i].op, sizeof(mw_op), MW_F64);
    if (!ok(status && strstr(mw_error(ctx), bad[i].message), "refused: %s", bad[i].message))
      printf("# got: %s\n", mw_error(ctx));
  }
  ok(mw_host_register_op(plugin, &t_attrs, sizeof(mw_op) + 8, MW_F64) &&
         strstr(mw_error(ctx), "an op's struct has"),
     "refused: a larger struct than the host knows");
  ok(mw_host_accept(plugin, MW_ABI + 1, "9.9") &&
         strstr(mw_error(ctx), "built for Moonwalk 9.9 (ABI 2), this is Moonwalk " MW_VERSION),
     "refused: a newer ABI, both versions named");
  mw_kernel far = {.op = "t_cube", .name = "far", .device = "gpu", .forward = cube_forward};
  ok(mw_host_register_kernel(plugin, &far, sizeof far, MW_F64) &&
         strstr(mw_error(ctx), "kernel far is for device \"gpu\", expected \"cpu\""),
     "refused: a kernel for a device that there is not");
  mw_plugin_abort(plugin);
  ok(!mw_op_find(ctx, "t_bad"), "none of it stays");
}

int main(void) {
  ctx = context_with_test_ops();
  mw_plugin *plugin = mw_plugin_begin(ctx, "attrs", NULL, NULL);
  ok(!mw_host_register_op(plugin, &t_attrs, sizeof t_attrs, MW_F64) && !mw_plugin_commit(plugin),
     "an op with every type of attribute");
  x = vector(ctx, 1, (double[]){1});
  test_defaults();
  test_settings();
  test_refusals();
  test_registering();
  mw_release(x);
  mw_context_free(ctx);
  return done();
}
