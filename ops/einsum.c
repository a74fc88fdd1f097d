/* einsum.c: sums of products, with a letter for each axis. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

/* A label stands for an axis: a letter, in the order of ASCII, or an axis of "...", counted from
 * its last one so that broadcasting matches them. */
enum { MOST = 16, LETTERS = 52, LABELS = LETTERS + MW_MAX_RANK };

typedef struct einsum_attrs {
  char equation[MW_MAX_TEXT];
} einsum_attrs;

static int label_of(char letter) {
  return letter <= 'Z' ? letter - 'A' : letter - 'a' + LETTERS / 2;
}

static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

static char letter_of(int label) {
  return (char)(label < LETTERS / 2 ? 'A' + label : 'a' + label - LETTERS / 2);
}

/* ---- reading the equation ----------------------------------------------------------------- */

typedef struct labels {
  int n;
  int at[MW_MAX_RANK];
} labels;

/* What the equation says about the operands. */
typedef struct plan {
  const mw_host *host; /* these two are for mw_fail */
  mw_context *context;
  int n_in;
  mw_spec in[MOST];
  labels of[MOST], out;
  int64_t size[LABELS];
  int first[LABELS], times[LABELS]; /* operand, from 1, that gave the size; how often it is there */
  int dots;                         /* axes that "..." stands for, at most */
} plan;

/* Notes a label's size in operand i. Only the axes of "..." broadcast. */
static mw_status note(plan *p, int i, int label, bool dots, int64_t size) {
  if (p->times[label]++ == 0) {
    p->first[label] = i + 1;
    p->size[label] = size;
  } else if (dots && (p->size[label] == 1 || size == 1)) {
    if (size != 1) {
      p->first[label] = i + 1;
      p->size[label] = size;
    }
  } else if (p->size[label] != size) {
    if (dots)
      return mw_fail(p,
                     "the axes of ... do not broadcast: one is %lld in operand %d, and %lld in %d",
                     (long long)p->size[label], p->first[label], (long long)size, i + 1);
    return mw_fail(p, "%c is %lld in operand %d and %lld in operand %d", letter_of(label),
                   (long long)p->size[label], p->first[label], (long long)size, i + 1);
  }
  return MW_OK;
}

/* Reads the letters of one operand from text[0 .. n). */
static mw_status read_operand(plan *p, int i, const char *text, int n) {
  const mw_spec *x = &p->in[i];
  char spec[MW_SPEC_TEXT];
  int letters = 0, points = 0;
  bool dots = false;
  for (int k = 0; k < n; k++) {
    if (!is_letter(text[k]) && text[k] != '.')
      return mw_fail(p, "the equation has '%c' in \"%.*s\", expected letters, commas, ... and ->",
                     text[k], n, text);
    letters += is_letter(text[k]);
    points += text[k] == '.';
  }
  const int hidden = x->rank - letters; /* axes that "..." stands for */
  labels *of = &p->of[i];
  if (hidden < 0 || (hidden > 0 && points == 0))
    return mw_fail(p, "operand %d is %s, but \"%.*s\" names %d %s", i + 1,
                   p->host->spec_text(x, spec), n, text, letters, letters == 1 ? "axis" : "axes");
  for (int k = 0; k < n; k++) {
    const bool at_dots = n - k >= 3 && memcmp(text + k, "...", 3) == 0;
    if (!at_dots && !is_letter(text[k]))
      return mw_fail(p, "the equation has a dot in \"%.*s\" that is not one of ...", n, text);
    if (at_dots && dots) return mw_fail(p, "the equation has ... twice in \"%.*s\"", n, text);
    const int axes = at_dots ? hidden : 1;
    for (int d = 0; d < axes && of->n < x->rank; d++) {
      const int label = at_dots ? LETTERS + hidden - 1 - d : label_of(text[k]);
      const int64_t size = x->shape[of->n];
      of->at[of->n++] = label;
      if (note(p, i, label, at_dots, size)) return MW_FAILED;
    }
    dots |= at_dots;
    k += at_dots ? 2 : 0;
  }
  if (dots && hidden > p->dots) p->dots = hidden;
  return MW_OK;
}

static mw_status add_output(plan *p, int label) {
  if (p->out.n == MW_MAX_RANK)
    return mw_fail(p, "the result has too many axes, at most %d are possible", MW_MAX_RANK);
  p->out.at[p->out.n++] = label;
  return MW_OK;
}

static mw_status add_dots(plan *p) {
  for (int d = p->dots - 1; d >= 0; d--)
    if (add_output(p, LETTERS + d)) return MW_FAILED;
  return MW_OK;
}

static mw_status read_output(plan *p, const char *text) {
  bool seen[LETTERS] = {false}, dots = false;
  for (; *text; text++) {
    if (strncmp(text, "...", 3) == 0 && !dots) {
      dots = true;
      text += 2;
      if (add_dots(p)) return MW_FAILED;
      continue;
    }
    if (!is_letter(*text))
      return mw_fail(p, "the equation has '%c' after ->, expected letters, and ... once", *text);
    const int label = label_of(*text);
    if (p->times[label] == 0) return mw_fail(p, "%c is after ->, but no operand has it", *text);
    if (seen[label]) return mw_fail(p, "%c is after -> twice", *text);
    seen[label] = true;
    if (add_output(p, label)) return MW_FAILED;
  }
  if (p->dots > 0 && !dots)
    return mw_fail(p, "there is no ... after ->, but it stands for %d axes of the operands",
                   p->dots);
  return MW_OK;
}

/* Without an arrow the result has what occurs once, in the order of the alphabet. */
static mw_status imply_output(plan *p) {
  if (add_dots(p)) return MW_FAILED;
  for (int label = 0; label < LETTERS; label++)
    if (p->times[label] == 1 && add_output(p, label)) return MW_FAILED;
  return MW_OK;
}

static mw_status read_equation(plan *p, const char *given) {
  char text[MW_MAX_TEXT];
  size_t used = 0;
  for (; *given; given++)
    if (*given != ' ') text[used++] = *given;
  text[used] = '\0';
  char *arrow = strstr(text, "->"), *operand = text;
  if (arrow) *arrow = '\0';
  int count = 1;
  for (const char *c = text; *c; c++) count += *c == ',';
  if (count != p->n_in)
    return mw_fail(p, "the equation has %d operands, but %d tensors were given", count, p->n_in);
  for (int i = 0; i < count; i++) {
    const size_t n = strcspn(operand, ",");
    if (read_operand(p, i, operand, (int)n)) return MW_FAILED;
    operand += n + 1;
  }
  return arrow ? read_output(p, arrow + 2) : imply_output(p);
}

static mw_status infer(mw_infer *it) {
  plan p = {.host = it->host, .context = it->context, .n_in = it->n_in};
  char text[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  if (it->n_in > MOST)
    return mw_fail(it, "got %d tensors, at most %d are possible", it->n_in, MOST);
  for (int i = 0; i < it->n_in; i++) {
    p.in[i] = it->in[i];
    it->host->spec_text(&it->in[i], text);
    if (!mw_is_float(it->in[i].dtype))
      return mw_fail(it, "operand %d is %s, expected f32 or f64; use :cast", i + 1, text);
    if (it->in[i].dtype != it->in[0].dtype)
      return mw_fail(it, "operand %d is %s, but the first is %s: the dtypes must agree; use :cast",
                     i + 1, text, it->host->spec_text(&it->in[0], other));
  }
  return read_equation(&p, ((const einsum_attrs *)it->attrs)->equation);
}

/* ---- building ----------------------------------------------------------------------------- */

/* A tensor with a label for each axis, all different. */
typedef struct term {
  mw_tensor *t;
  labels of;
} term;

static int find(const labels *list, int label) {
  for (int k = 0; k < list->n; k++)
    if (list->at[k] == label) return k;
  return -1;
}

static uint64_t set_of(const labels *list) {
  uint64_t set = 0;
  for (int k = 0; k < list->n; k++) set |= UINT64_C(1) << list->at[k];
  return set;
}

static bool same(const labels *a, const labels *b) {
  return a->n == b->n && memcmp(a->at, b->at, (size_t)a->n * sizeof *a->at) == 0;
}

static mw_tensor *permuted(mw_build *b, mw_tensor *t, int rank, const int64_t *perm) {
  bool in_order = true;
  for (int k = 0; k < rank; k++) in_order = in_order && perm[k] == k;
  const mw_setting order = mw_list("perm", rank, perm);
  return in_order ? t : mw_make(b, "transpose", 1, &t, 1, &order);
}

static void arrange(mw_build *b, term *x, const labels *order) {
  int64_t perm[MW_MAX_RANK];
  for (int k = 0; k < order->n; k++) perm[k] = find(&x->of, order->at[k]);
  x->t = permuted(b, x->t, order->n, perm);
  x->of = *order;
}

/* Where a label stands at p and at q: these axes go last, become one of n n entries, and of these
 * each n+1st is taken. */
static void take_diagonal(mw_build *b, term *x, int p, int q) {
  int64_t perm[MW_MAX_RANK], sizes[MW_MAX_RANK], start[MW_MAX_RANK] = {0}, step[MW_MAX_RANK];
  const mw_spec *spec = b->host->tensor_spec(x->t);
  const int64_t n = spec->shape[p];
  labels left = {.n = 0};
  for (int k = 0; k < x->of.n; k++) {
    if (k == p || k == q) continue;
    perm[left.n] = k;
    sizes[left.n] = spec->shape[k];
    step[left.n] = 1;
    left.at[left.n++] = x->of.at[k];
  }
  perm[left.n] = p;
  perm[left.n + 1] = q;
  step[left.n] = n + 1;
  sizes[left.n] = n * n;
  left.at[left.n++] = x->of.at[p];
  mw_tensor *rows =
      mw_make_shaped(b, "reshape", permuted(b, x->t, left.n + 1, perm), left.n, sizes);
  sizes[left.n - 1] = n;
  x->t = mw_make(b, "slice", 1, &rows, 3,
                 (mw_setting[]){mw_list("start", left.n, start), mw_list("count", left.n, sizes),
                                mw_list("step", left.n, step)});
  x->of = left;
}

static term term_of(mw_build *b, const plan *p, int i) {
  term x = {.t = b->in[i], .of = p->of[i]};
  for (int k = 0; k < x.of.n && x.t; k++) {
    const int first = find(&x.of, x.of.at[k]);
    if (first == k) continue;
    take_diagonal(b, &x, first, k);
    k = 0; /* positions have changed */
  }
  return x;
}

/* Sums over the axes that are not in `kept`. */
static void sum_others(mw_build *b, term *x, uint64_t kept) {
  int64_t axes[MW_MAX_RANK];
  int n = 0;
  labels left = {.n = 0};
  for (int k = 0; k < x->of.n; k++) {
    if (kept >> x->of.at[k] & 1u) left.at[left.n++] = x->of.at[k];
    else axes[n++] = k;
  }
  if (n == 0) return;
  const mw_setting over = mw_list("axes", n, axes);
  x->t = mw_make(b, "sum", 1, &x->t, 1, &over);
  x->of = left;
}

/* Axes of "..." that have the size 1 in x are repeated as often as the other one needs. */
static void widen(mw_build *b, term *x, const term *other) {
  if (!x->t || !other->t) return;
  mw_spec spec = *b->host->tensor_spec(x->t);
  const mw_spec *beside = b->host->tensor_spec(other->t);
  bool wider = false;
  for (int k = 0; k < x->of.n; k++) {
    const int at = find(&other->of, x->of.at[k]);
    if (at < 0 || spec.shape[k] == beside->shape[at] || spec.shape[k] != 1) continue;
    spec.shape[k] = beside->shape[at];
    wider = true;
  }
  if (wider) x->t = mw_make_shaped(b, "expand", x->t, spec.rank, spec.shape);
}

static void append(labels *list, const labels *more) {
  for (int k = 0; k < more->n && list->n < MW_MAX_RANK; k++) list->at[list->n++] = more->at[k];
}

static int64_t size_of(const mw_spec *spec, const labels *of, const labels *some) {
  int64_t size = 1;
  for (int k = 0; k < some->n; k++) size *= spec->shape[find(of, some->at[k])];
  return size;
}

/* One side of a product as [batch, rows, columns]; true when it is stored [batch, columns, rows],
 * which saves a transpose. */
static bool as_matrices(mw_build *b, term *x, const labels *batch, const labels *rows,
                        const labels *columns) {
  if (!x->t) return false;
  labels order = *batch, turned = *batch;
  append(&order, rows);
  append(&order, columns);
  append(&turned, columns);
  append(&turned, rows);
  const bool transposed = same(&x->of, &turned) && !same(&x->of, &order);
  const mw_spec *spec = b->host->tensor_spec(x->t);
  const int64_t m = size_of(spec, &x->of, rows), n = size_of(spec, &x->of, columns);
  const int64_t sizes[] = {size_of(spec, &x->of, batch), transposed ? n : m, transposed ? m : n};
  if (!transposed) arrange(b, x, &order);
  x->t = mw_make_shaped(b, "reshape", x->t, 3, sizes);
  return transposed;
}

/* The product of two terms, summed over the labels that both have and that are not in `kept`. */
static mw_status multiply(mw_build *b, term *x, term *y, uint64_t kept) {
  const uint64_t in_x = set_of(&x->of), in_y = set_of(&y->of);
  labels batch = {.n = 0}, summed = {.n = 0}, rows = {.n = 0}, columns = {.n = 0};
  widen(b, x, y);
  widen(b, y, x);
  if (!x->t || !y->t) return MW_OK; /* the host knows why */
  for (int k = 0; k < x->of.n; k++) {
    const int label = x->of.at[k];
    labels *list = !(in_y >> label & 1u) ? &rows : kept >> label & 1u ? &batch : &summed;
    list->at[list->n++] = label;
  }
  for (int k = 0; k < y->of.n; k++)
    if (!(in_x >> y->of.at[k] & 1u)) columns.at[columns.n++] = y->of.at[k];
  if (batch.n + rows.n + columns.n > MW_MAX_RANK)
    return mw_fail(b, "a product on the way has %d axes, at most %d are possible",
                   batch.n + rows.n + columns.n, MW_MAX_RANK);

  labels left = batch;
  int64_t sizes[MW_MAX_RANK];
  append(&left, &rows);
  append(&left, &columns);
  const mw_spec *spec_x = b->host->tensor_spec(x->t), *spec_y = b->host->tensor_spec(y->t);
  for (int k = 0; k < left.n; k++) {
    const int at = find(&x->of, left.at[k]);
    sizes[k] = at >= 0 ? spec_x->shape[at] : spec_y->shape[find(&y->of, left.at[k])];
  }
  const bool turned_x = as_matrices(b, x, &batch, &rows, &summed);
  const bool turned_y = as_matrices(b, y, &batch, &summed, &columns);
  mw_tensor *both[] = {x->t, y->t};
  const mw_setting turned[] = {mw_bool("transpose_a", turned_x), mw_bool("transpose_b", turned_y)};
  mw_tensor *product =
      summed.n > 0 ? mw_make(b, "matmul", 2, both, 2, turned) : mw_make2(b, "mul", x->t, y->t);
  x->t = mw_make_shaped(b, "reshape", product, left.n, sizes);
  x->of = left;
  return MW_OK;
}

static mw_status compose(mw_build *b) {
  plan p = {.host = b->host, .context = b->context, .n_in = b->n_in};
  uint64_t later[MOST + 1]; /* labels that the result or an operand from i on has */
  for (int i = 0; i < b->n_in; i++) p.in[i] = *b->host->tensor_spec(b->in[i]);
  if (read_equation(&p, ((const einsum_attrs *)b->attrs)->equation)) return MW_FAILED;
  later[p.n_in] = set_of(&p.out);
  for (int i = p.n_in - 1; i >= 0; i--) later[i] = later[i + 1] | set_of(&p.of[i]);

  term y = term_of(b, &p, 0);
  sum_others(b, &y, later[1]);
  for (int i = 1; i < p.n_in; i++) {
    term x = term_of(b, &p, i);
    sum_others(b, &x, set_of(&y.of) | later[i + 1]);
    if (multiply(b, &y, &x, later[i + 1])) return MW_FAILED;
  }
  if (y.t) arrange(b, &y, &p.out);
  b->out[0] = mw_make1(b, "identity", y.t);
  return MW_OK;
}

static const mw_attr schema[] = {{.name = "equation",
                                  .type = MW_TEXT,
                                  .offset = offsetof(einsum_attrs, equation),
                                  .doc = "such as \"bij,bjk->bik\""},
                                 {0}};

static const mw_op einsum_op = {
    .name = "einsum",
    .version = 1,
    .doc =
        "Einstein's summation: mw.einsum(a, b, \"ij,jk->ik\") is y[i, k] = the sum over j of "
        "a[i, j] b[j, k]. The equation has a letter for each axis of each operand, and after -> "
        "those of the result; other letters are summed over. A letter that one operand has twice "
        "takes its diagonal. Without -> the result has the letters that occur once, by the "
        "alphabet (capitals first). ... stands for any axes, which broadcast as in mul. Operands "
        "are multiplied from left to right.",
    .example = "mw.einsum(mw.randn{2,3}, mw.randn{3,4}, {equation='ij,jk->ik'})",
    .cases =
        "mw.einsum(mw.randn{2,3}, mw.randn{4,3}, {equation='ij,kj'})\n"
        "mw.einsum(mw.randn{2,3,4}, mw.randn{2,5,3}, {equation='bij, bki -> bkj'})\n"
        "mw.einsum(mw.randn{3,2}, mw.randn{3,2}, {equation='ij,ij->'})\n"
        "mw.einsum(mw.randn{3,3}, {equation='ii'})\n"
        "mw.einsum(mw.randn{3,2,3}, {equation='iji->ij'})\n"
        "mw.einsum(mw.randn{2,2,2}, {equation='iii->i'})\n"
        "mw.einsum(mw.randn{2,3,1}, {equation='abc->cab'})\n"
        "mw.einsum(mw.randn{3}, mw.randn{2}, {equation='i,j->ji'})\n"
        "mw.einsum(mw.randn{2,3}, mw.randn{3,4}, mw.randn{4,2}, {equation='ij,jk,kl->il'})\n"
        "mw.einsum(mw.randn{2,1,2,3}, mw.randn{3,3,2}, {equation='...ij,...jk->...ik'})\n"
        "mw.einsum(mw.randn{2,3}, mw.randn{}, {equation='...,...'})\n"
        "mw.einsum(mw.randn{2,2}, mw.randn{2,3,2}, mw.randn{3}, {equation='aa,aBc,B->ca'})\n"
        "mw.einsum(mw.randn{2,3}, mw.randn{4}, {equation='ij,k->k'})\n"
        "mw.einsum(mw.randn{0,3}, mw.randn{3,2}, {equation='ij,jk->ik'})\n"
        "mw.einsum(mw.randn{2,0}, mw.randn{0,2}, {equation='ij,jk->ik'})",
    .inputs = {{"x", MW_VARIADIC}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(einsum_attrs),
    .infer = infer,
    .compose = compose,
};

MW_PLUGIN(&einsum_op)
