/* random_graphs.c: random graphs of shipped ops, computed in several ways that must agree.
 *
 * A tape of op applications is drawn once, each computed alone as it is drawn, so that nothing is
 * merged, shared or written in place. Played again, it gives the same graph unevaluated. Then
 *  - any outputs and gradients, in one program, have the bits that each has alone;
 *  - gradients agree with differences, second derivatives with differences of gradients;
 *  - the gradient of an inner tensor is that of a leaf put in its place;
 *  - a training loop in one program takes the steps that one taken by hand does, bit by bit, with
 *    one thread and with two. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

enum { LEAVES = 4, MOST = 48, SETTINGS = 3, ROUNDS = 60 };

typedef struct entry {
  const char *op;
  int n_in, in[3], output;
  int n_settings;
  mw_setting settings[SETTINGS];
} entry;

/* The first LEAVES places are parameters. */
typedef struct tape {
  int n;
  mw_spec leaf[LEAVES];
  double value[LEAVES][64];
  entry entries[MOST];
  bool twice; /* every op on it can be differentiated twice */
} tape;

typedef struct graph {
  mw_tensor *t[MOST];
  mw_tensor *loss;
} graph;

/* ---- drawing ------------------------------------------------------------------------------ */

static uint64_t drawn;
static int draw(int n) { /* 0 .. n-1 */
  uint32_t words[4];
  mw_philox(20, drawn++, words);
  return (int)(words[0] % (uint32_t)n);
}
static double draw_value(void) { return draw(4001) / 1000.0 - 2; }

static mw_tensor *play_entry(mw_context *ctx, const entry *e, mw_tensor *const *t) {
  mw_tensor *in[3], *out[MW_MAX_ARGS];
  for (int i = 0; i < e->n_in; i++) in[i] = t[e->in[i]];
  int n = mw_apply_all(ctx, e->op, e->n_in, in, e->n_settings, e->settings, out);
  if (e->output >= n) return NULL;
  mw_tensor *kept = mw_retain(out[e->output]);
  for (int j = 0; j < n; j++) mw_release(out[j]);
  return kept;
}

static void set_lists(entry *e, const mw_spec *x) {
  int64_t start[MW_MAX_RANK], count[MW_MAX_RANK], step[MW_MAX_RANK];
  for (int k = 0; k < x->rank; k++) {
    int size = (int)x->shape[k];
    count[k] = 1 + draw(size);
    step[k] = size >= 2 * count[k] ? 2 : 1;
    start[k] = draw(size - (int)((count[k] - 1) * step[k]));
  }
  e->settings[0] = mw_list("start", x->rank, start);
  e->settings[1] = mw_list("count", x->rank, count);
  e->settings[2] = mw_list("step", x->rank, step);
  e->n_settings = 3;
}

static void set_shape(entry *e, const mw_spec *x) {
  int64_t shape[MW_MAX_RANK], count = mw_spec_count(x);
  int rank = 0;
  if (strcmp(e->op, "reshape") == 0) {
    for (int64_t p = 2; count > 1 && rank < 3; p++)
      while (count % p == 0 && rank < 3) shape[rank++] = p, count /= p;
    shape[rank ? rank - 1 : 0] *= rank ? count : 0;
  } else {
    shape[rank++] = 2;
    for (int k = 0; k < x->rank; k++) shape[rank++] = x->shape[k] == 1 ? 3 : x->shape[k];
  }
  e->settings[0] = mw_list("shape", rank, shape);
  e->n_settings = 1;
}

/* An op with what it needs; most of the inputs that it draws fit, and the others are refused. */
static entry draw_entry(const tape *p, const mw_spec *specs) {
  static const struct {
    const char *op;
    int n_in;
    char kind;
  } ops[] = {
      {"add", 2, 0},       {"mul", 2, 0},           {"sub", 2, 0},       {"maximum", 2, 0},
      {"relu", 1, 0},      {"sigmoid", 1, 0},       {"tanh", 1, 0},      {"t_cube", 1, 0},
      {"exp", 1, 0},       {"square", 1, 0},        {"neg", 1, 0},       {"sum", 1, 'a'},
      {"mean", 1, 'a'},    {"max", 1, 'a'},         {"reshape", 1, 's'}, {"expand", 1, 's'},
      {"transpose", 1, 0}, {"matmul", 2, 'm'},      {"slice", 1, 'l'},   {"concat", 3, 'c'},
      {"softmax", 1, 'x'}, {"log_softmax", 1, 'x'}, {"dense", 3, 0},     {"accumulate", 2, 0},
      {"identity", 1, 0},  {"t_split", 1, 'o'},     {"matmul", 2, 0},    {"mul", 2, 0},
  };
  int which = draw((int)(sizeof ops / sizeof *ops));
  entry e = {.op = ops[which].op, .n_in = ops[which].n_in};
  for (int i = 0; i < e.n_in; i++) e.in[i] = draw(3) && p->n > 8 ? p->n - 1 - draw(8) : draw(p->n);
  if (draw(4) == 0) e.in[e.n_in - 1] = e.in[0];
  if (e.n_in > 1 && draw(6) == 0) e.in[1] = e.in[0];
  const mw_spec *x = &specs[e.in[0]];
  int axis = x->rank ? draw(x->rank) : 0;
  switch (ops[which].kind) {
    case 'a':
      e.settings[0] = mw_list("axes", x->rank && draw(3), (int64_t[]){axis});
      e.settings[1] = mw_bool("keepdims", draw(2));
      e.n_settings = 2;
      break;
    case 's': set_shape(&e, x); break;
    case 'm':
      e.settings[0] = mw_bool("transpose_a", draw(2));
      e.settings[1] = mw_bool("transpose_b", draw(2));
      e.n_settings = 2;
      break;
    case 'l': set_lists(&e, x); break;
    case 'c':
    case 'x':
      e.settings[0] = mw_int("axis", axis);
      e.n_settings = 1;
      break;
    case 'o': e.output = draw(2); break;
    default: break;
  }
  return e;
}

static bool moderate(const mw_tensor *t) {
  const double *v = mw_tensor_data(t);
  int64_t n = mw_spec_count(mw_tensor_spec(t));
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(v[i]) < 6)) return false;
  return n <= 64;
}

static mw_tensor *play_leaf(mw_context *ctx, const tape *p, int i) {
  return mw_parameter(ctx, &p->leaf[i], p->value[i], "w");
}

/* Draws a tape; g gets its tensors, each computed when it is drawn. */
static void draw_tape(mw_context *ctx, tape *p, graph *g, int n) {
  static const int64_t shapes[][3] = {{4, 4, 0}, {4, 0, 0}, {2, 3, 4},
                                      {1, 4, 0}, {0, 0, 0}, {4, 4, 0}};
  mw_spec specs[MOST];
  *p = (tape){.twice = true};
  for (; p->n < LEAVES; p->n++) {
    const int64_t *shape = shapes[draw(6)];
    p->leaf[p->n] = mw_spec_of(MW_F64, (shape[0] > 0) + (shape[1] > 0) + (shape[2] > 0), shape);
    for (int i = 0; i < 64; i++) p->value[p->n][i] = draw_value();
    specs[p->n] = p->leaf[p->n];
    g->t[p->n] = play_leaf(ctx, p, p->n);
  }
  for (int tries = 0; p->n < n && tries < 40 * n; tries++) {
    entry e = draw_entry(p, specs);
    mw_tensor *t = play_entry(ctx, &e, g->t);
    if (!t) continue;
    if (mw_eval(ctx, 1, &t) || !moderate(t)) {
      mw_release(t);
      continue;
    }
    if (strcmp(e.op, "t_split") == 0) p->twice = false;
    specs[p->n] = *mw_tensor_spec(t);
    g->t[p->n] = t;
    p->entries[p->n++] = e;
  }
}

/* ---- playing ------------------------------------------------------------------------------ */

/* The mean square of some tensors; loss of the graph. */
static mw_tensor *loss_of(mw_context *ctx, const tape *p, const graph *g) {
  mw_tensor *sum = NULL;
  for (int i = p->n - 1; i >= 0; i -= 3) {
    mw_tensor *s = apply1(ctx, "sigmoid", g->t[i]), *m = apply1(ctx, "mean", s);
    mw_tensor *next = sum ? apply2(ctx, "add", sum, m) : mw_retain(m);
    mw_release(s);
    mw_release(m);
    mw_release(sum);
    sum = next;
  }
  return sum;
}

/* Plays a tape without computing. cut: a place that gets a parameter of that value instead. */
static void play(mw_context *ctx, const tape *p, graph *g, int cut, mw_tensor *value) {
  for (int i = 0; i < p->n; i++) {
    if (i == cut) g->t[i] = mw_parameter(ctx, mw_tensor_spec(value), mw_tensor_data(value), "cut");
    else if (i < LEAVES) g->t[i] = play_leaf(ctx, p, i);
    else g->t[i] = play_entry(ctx, &p->entries[i], g->t);
  }
  g->loss = loss_of(ctx, p, g);
}

static void drop(const tape *p, graph *g) {
  for (int i = 0; i < p->n; i++) mw_release(g->t[i]);
  mw_release(g->loss);
}

static bool same_bits(mw_tensor *a, mw_tensor *b) {
  if (!a || !b || mw_eval(mw_tensor_context(a), 1, &a) || mw_eval(mw_tensor_context(b), 1, &b))
    return false;
  return mw_spec_equal(mw_tensor_spec(a), mw_tensor_spec(b)) &&
         memcmp(mw_tensor_data(a), mw_tensor_data(b), mw_spec_bytes(mw_tensor_spec(a))) == 0;
}

static void say_failure(const tape *p, int round, const char *what) {
  printf("# round %d: %s\n", round, what);
  for (int i = LEAVES; i < p->n; i++) {
    const entry *e = &p->entries[i];
    printf("#   %d = %s.%d(", i, e->op, e->output);
    for (int j = 0; j < e->n_in; j++) printf("%s%d", j ? ", " : "", e->in[j]);
    printf(")\n");
  }
}

/* ---- the comparisons ---------------------------------------------------------------------- */

/* Some outputs and all gradients in one program against each alone. */
static bool check_bits(mw_context *ctx, const tape *p, const graph *alone) {
  graph g, h;
  mw_tensor *asked[MOST + LEAVES], *dg[LEAVES], *dh[LEAVES];
  int n = 0;
  play(ctx, p, &g, -1, NULL);
  play(ctx, p, &h, -1, NULL);
  if (mw_grad(ctx, g.loss, NULL, LEAVES, g.t, dg)) return false;
  if (mw_grad(ctx, h.loss, NULL, LEAVES, h.t, dh)) return false;
  for (int i = 0; i < p->n; i++)
    if (draw(3) == 0) asked[n++] = g.t[i];
  for (int i = 0; i < LEAVES; i++) asked[n++] = dg[i];
  bool same = !mw_eval(ctx, n, asked);
  for (int i = 0; i < p->n; i++) same = same && same_bits(g.t[i], alone->t[i]);
  for (int i = p->n - 1; i >= 0; i--) same = same && same_bits(h.t[i], alone->t[i]);
  for (int i = 0; i < LEAVES; i++) {
    same = same && same_bits(dg[i], dh[i]);
    mw_release(dg[i]);
    mw_release(dh[i]);
  }
  drop(p, &g);
  drop(p, &h);
  return same;
}

/* The loss (order 1) or <gradient, direction> (order 2), and its slope along the direction. */
static double slope(mw_context *ctx, const tape *p, double direction[][64], int order,
                    double *value) {
  graph g;
  mw_tensor *d[LEAVES], *y, *parts[LEAVES], *v[LEAVES];
  play(ctx, p, &g, -1, NULL);
  y = mw_retain(g.loss);
  for (int i = 0; i < LEAVES; i++) v[i] = mw_constant(ctx, &p->leaf[i], direction[i]);
  double along = NAN;
  for (int k = 0; k < order; k++) {
    *value = at(y, 0);
    if (mw_grad(ctx, y, NULL, LEAVES, g.t, d)) break;
    mw_release(y);
    for (int i = 0; i < LEAVES; i++) {
      mw_tensor *product = apply2(ctx, "mul", d[i], v[i]);
      parts[i] = apply1(ctx, "sum", product);
      mw_release(product);
      mw_release(d[i]);
    }
    y = mw_apply(ctx, "accumulate", LEAVES, parts, 0, NULL);
    for (int i = 0; i < LEAVES; i++) mw_release(parts[i]);
    if (k == order - 1) along = at(y, 0);
  }
  mw_release(y);
  for (int i = 0; i < LEAVES; i++) mw_release(v[i]);
  drop(p, &g);
  return along;
}

/* Slopes against differences. Where those to the left and to the right disagree there is a corner,
 * and no verdict. At a small one the slope may be any between the two. */
static bool check_slope(mw_context *ctx, const tape *p, int order, int *checked) {
  double direction[LEAVES][64], here, ends[2];
  const double h = 5e-6;
  for (int i = 0; i < LEAVES; i++)
    for (int k = 0; k < 64; k++) direction[i][k] = draw_value();
  double exact = slope(ctx, p, direction, order, &here), scale = 1 + fabs(exact);
  for (int side = 0; side < 2; side++) {
    tape moved = *p;
    for (int i = 0; i < LEAVES; i++)
      for (int k = 0; k < 64; k++) moved.value[i][k] += (side ? h : -h) * direction[i][k];
    slope(ctx, &moved, direction, order, &ends[side]);
  }
  double left = (here - ends[0]) / h, right = (ends[1] - here) / h;
  if (fabs(left - right) > 1e-3 * scale) return true;
  (*checked)++;
  if (exact >= fmin(left, right) - 1e-4 * scale && exact <= fmax(left, right) + 1e-4 * scale)
    return true;
  printf("# slope of order %d: %.10g, differences %.10g %.10g\n", order, exact, left, right);
  return false;
}

/* dloss/dt for an inner t, beside dloss/dleaf, against a graph in which t is a leaf. */
static bool check_inner(mw_context *ctx, const tape *p, const graph *alone) {
  int cut = LEAVES + draw(p->n - LEAVES);
  graph g, h;
  mw_tensor *dg[2], *dh;
  play(ctx, p, &g, -1, NULL);
  play(ctx, p, &h, cut, alone->t[cut]);
  if (mw_grad(ctx, g.loss, NULL, 2, (mw_tensor *[]){g.t[cut], g.t[0]}, dg)) return false;
  if (mw_grad(ctx, h.loss, NULL, 1, &h.t[cut], &dh)) return false;
  bool same = same_bits(dg[0], dh);
  mw_release(dg[0]);
  mw_release(dg[1]);
  mw_release(dh);
  drop(p, &g);
  drop(p, &h);
  return same;
}

/* One step down, as new values of the parameters. */
static bool next_values(mw_context *ctx, mw_tensor *loss, mw_tensor *const *w, mw_tensor **next) {
  mw_spec scalar = mw_spec_of(MW_F64, 0, NULL);
  mw_tensor *d[LEAVES], *rate = mw_constant(ctx, &scalar, &(double){0.25});
  if (mw_grad(ctx, loss, NULL, LEAVES, w, d)) return false;
  for (int i = 0; i < LEAVES; i++) {
    mw_tensor *change = apply2(ctx, "mul", d[i], rate);
    next[i] = apply2(ctx, "sub", w[i], change);
    mw_release(change);
    mw_release(d[i]);
  }
  mw_release(rate);
  return true;
}

static bool check_training(mw_context *ctx, const tape *p) {
  graph g, h;
  mw_tensor *next[LEAVES], *by_hand[LEAVES], *w[LEAVES], *v[LEAVES];
  bool same = true;
  for (int i = 0; i < LEAVES; i++) w[i] = play_leaf(ctx, p, i), v[i] = play_leaf(ctx, p, i);
  for (int step = 0; step < 3 && same; step++) {
    memcpy(g.t, w, sizeof w);
    memcpy(h.t, v, sizeof v);
    for (int i = LEAVES; i < p->n; i++) {
      g.t[i] = play_entry(ctx, &p->entries[i], g.t);
      h.t[i] = play_entry(ctx, &p->entries[i], h.t);
      if (mw_eval(ctx, 1, &h.t[i])) return false;
    }
    g.loss = loss_of(ctx, p, &g);
    h.loss = loss_of(ctx, p, &h);
    mw_threads_set(ctx, 1 + step % 2);
    if (!next_values(ctx, g.loss, w, next) || !next_values(ctx, h.loss, v, by_hand)) return false;
    mw_tensor *asked[] = {g.loss, g.t[p->n - 1]};
    same = !mw_update(ctx, draw(3), asked, LEAVES, w, next);
    for (int i = 0; i < LEAVES; i++) same = same && !mw_eval(ctx, 1, &by_hand[i]);
    for (int i = 0; i < LEAVES && same; i++) {
      memcpy(mw_leaf_write(v[i]), mw_tensor_data(by_hand[i]), mw_spec_bytes(&p->leaf[i]));
      same = same_bits(w[i], v[i]);
    }
    for (int i = 0; i < LEAVES; i++) mw_release(next[i]), mw_release(by_hand[i]);
    for (int i = LEAVES; i < p->n; i++) mw_release(g.t[i]), mw_release(h.t[i]);
    mw_release(g.loss);
    mw_release(h.loss);
  }
  for (int i = 0; i < LEAVES; i++) mw_release(w[i]), mw_release(v[i]);
  return same;
}

int main(int argc, char **argv) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS, wrong[5] = {0}, checked[3] = {0};
  if (argc > 2) drawn = strtoull(argv[2], NULL, 10) << 32;
  for (int round = 0; round < rounds; round++) {
    tape p;
    graph alone;
    draw_tape(ctx, &p, &alone, LEAVES + 2 + draw(MOST - LEAVES - 2));
    bool right[] = {check_bits(ctx, &p, &alone), check_slope(ctx, &p, 1, &checked[1]),
                    !p.twice || check_slope(ctx, &p, 2, &checked[2]), check_inner(ctx, &p, &alone),
                    check_training(ctx, &p)};
    static const char *const names[] = {"bits", "slope", "second slope", "inner", "training"};
    for (int i = 0; i < 5; i++) {
      if (right[i]) continue;
      if (wrong[i]++ == 0) say_failure(&p, round, names[i]);
      printf("# %s\n", mw_error(ctx));
    }
    for (int i = 0; i < p.n; i++) mw_release(alone.t[i]);
  }
  is_int(wrong[0], 0, "%d graphs: one program computes what its nodes compute alone", rounds);
  is_int(wrong[1], 0, "gradients agree with differences");
  is_int(wrong[2], 0, "second derivatives agree with differences of gradients");
  is_int(wrong[3], 0, "gradients of inner tensors are those of leaves in their place");
  is_int(wrong[4], 0, "training in one program takes the steps taken by hand");
  ok(checked[1] > rounds / 2 && checked[2] > rounds / 4, "%d and %d slopes were smooth", checked[1],
     checked[2]);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  return done();
}
