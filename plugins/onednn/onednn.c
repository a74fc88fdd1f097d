/* onednn.c: conv2d and dense by oneDNN 2 (the library libdnnl), as kernels named "onednn".
 *
 * A call is a job of oneDNN's: its inputs brought into the layouts that oneDNN likes for it, its
 * primitive, and the outputs brought back to plain rows. Jobs are made once for each shape and kept.
 * Its threads are as many as the call may use, so that the two never have more together.
 *
 * The kernels come after all others, below the plain ones: they are taken where they are asked for by
 * name, or where mw.tune finds that they are the fastest. Their sums may differ in the last bits with
 * the number of threads, as no other kernel's do; what lies beyond an image's edge they leave out
 * altogether, so that an infinite weight gives no NaN there. */
#include <dnnl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../../graph/moonwalk.h"

#if DNNL_VERSION_MAJOR != 2
#error "this is for oneDNN 2"
#endif

/* Of the OpenMP that oneDNN was built with, where it was. */
__attribute__((weak)) void omp_set_num_threads(int threads);
__attribute__((weak)) int omp_get_max_threads(void);

/* ---- what there is to do --------------------------------------------------------------------- */

enum { CONV, DENSE };
enum { FORWARD, DATA, WEIGHTS }; /* y; dx; dw and db */

/* All that tells one job from another. Numbers alone, so that two can be compared as bytes. Dense is
 * as images of one point: n rows, c and o columns. */
typedef struct shape {
  int64_t op, kind, threads, biased;
  int64_t n, c, h, w, o, cg, kh, kw, oh, ow, groups;
  dnnl_dims_t stride, dilation, before, after;
} shape;

static const void *attribute(const mw_call *call, const char *name) {
  for (const mw_attr *a = call->op->attrs; a && a->name; a++)
    if (strcmp(a->name, name) == 0) return (const char *)call->attrs + a->offset;
  return NULL;
}

static shape conv_shape(const mw_call *call, int kind, int threads) {
  const int64_t *x = call->in[0].spec.shape, *w = call->in[1].spec.shape,
                *y = call->out[0].spec.shape;
  const mw_ints *stride = attribute(call, "stride"), *dilation = attribute(call, "dilation"),
                *padding = attribute(call, "padding");
  shape s = {.op = CONV, .kind = kind, .threads = threads};
  s.biased = mw_present(&call->in[2].spec);
  s.n = x[0], s.c = x[1], s.h = x[2], s.w = x[3];
  s.o = w[0], s.cg = w[1], s.kh = w[2], s.kw = w[3], s.oh = y[2], s.ow = y[3];
  s.groups = *(const int64_t *)attribute(call, "groups");
  for (int k = 0; k < 2; k++) {
    s.stride[k] = stride->at[k], s.dilation[k] = dilation->at[k] - 1;
    s.before[k] = padding->at[k], s.after[k] = padding->at[k + 2];
  }
  return s;
}

static shape dense_shape(const mw_call *call, int kind, int threads) {
  const mw_spec *x = &call->in[0].spec, *w = &call->in[1].spec;
  shape s = {.op = DENSE, .kind = kind, .threads = threads, .n = 1};
  for (int k = 0; k < x->rank - 1; k++) s.n *= x->shape[k];
  s.biased = mw_present(&call->in[2].spec);
  s.c = w->shape[1], s.o = w->shape[0];
  return s;
}

static shape shape_of(const mw_call *call, int kind, int threads) {
  return attribute(call, "stride") ? conv_shape(call, kind, threads)
                                   : dense_shape(call, kind, threads);
}

/* ---- jobs ------------------------------------------------------------------------------------- */

/* An array of a job: as Moonwalk has it, as oneDNN wants it, and between them a reorder, which is
 * NULL where both are the same. */
typedef struct part {
  int arg; /* DNNL_ARG_... */
  bool output;
  dnnl_memory_desc_t plain, inner;
  dnnl_primitive_t reorder;
  size_t at; /* of the inner bytes, in the scratch memory */
} part;

enum { X, W, B, Y, PARTS };

typedef struct job {
  struct job *next;
  shape s;
  bool ready;
  dnnl_status_t status;
  part parts[PARTS];
  dnnl_memory_desc_t scratchpad;
  size_t scratchpad_at, bytes;
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t primitive;
} job;

#define ALIGN 64
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static job *jobs; /* all that were made; they stay, as the library does */
static dnnl_engine_t engine;
static dnnl_stream_t stream;

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* Layouts of plain rows, and (any) oneDNN's choice. */
static dnnl_status_t describe(job *j, int i, int arg, bool output, int rank, const int64_t *dims,
                              dnnl_format_tag_t tag) {
  part *p = &j->parts[i];
  dnnl_dims_t size = {0};
  for (int k = 0; k < rank; k++) size[k] = dims[k];
  p->arg = arg;
  p->output = output;
  dnnl_status_t status = dnnl_memory_desc_init_by_tag(&p->plain, rank, size, dnnl_f32, tag);
  if (status) return status;
  return dnnl_memory_desc_init_by_tag(&p->inner, rank, size, dnnl_f32,
                                      i == B ? tag : dnnl_format_tag_any);
}

static dnnl_status_t describe_parts(job *j) {
  const shape *s = &j->s;
  const bool back = s->kind != FORWARD, dx = s->kind == DATA, dw = s->kind == WEIGHTS;
  const bool conv = s->op == CONV;
  dnnl_status_t status;
  status = describe(j, X, dx ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, dx, conv ? 4 : 2,
                    (int64_t[]){s->n, s->c, s->h, s->w}, conv ? dnnl_nchw : dnnl_nc);
  if (!status && s->groups > 1)
    status = describe(j, W, dw ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, dw, 5,
                      (int64_t[]){s->groups, s->o / s->groups, s->cg, s->kh, s->kw}, dnnl_goihw);
  else if (!status)
    status = describe(j, W, dw ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, dw, conv ? 4 : 2,
                      (int64_t[]){s->o, s->c, s->kh, s->kw}, conv ? dnnl_oihw : dnnl_oi);
  if (!status && s->biased && !dx)
    status = describe(j, B, dw ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, dw, 1, &s->o, dnnl_x);
  if (!status)
    status = describe(j, Y, back ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, !back, conv ? 4 : 2,
                      (int64_t[]){s->n, s->o, s->oh, s->ow}, conv ? dnnl_nchw : dnnl_nc);
  return status;
}

/* The primitive descriptor of what has been described; hint: a forward one, for the other kinds. */
static dnnl_status_t conv_desc(job *j, dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
  const shape *s = &j->s;
  dnnl_convolution_desc_t op;
  const dnnl_memory_desc_t *x = &j->parts[X].inner, *w = &j->parts[W].inner,
                           *b = j->parts[B].arg ? &j->parts[B].inner : NULL,
                           *y = &j->parts[Y].inner;
  dnnl_status_t status;
  if (s->kind == FORWARD)
    status = dnnl_dilated_convolution_forward_desc_init(
        &op, dnnl_forward_training, dnnl_convolution_direct, x, w, b, y, s->stride, s->dilation,
        s->before, s->after);
  else if (s->kind == DATA)
    status = dnnl_dilated_convolution_backward_data_desc_init(
        &op, dnnl_convolution_direct, x, w, y, s->stride, s->dilation, s->before, s->after);
  else
    status = dnnl_dilated_convolution_backward_weights_desc_init(
        &op, dnnl_convolution_direct, x, w, b, y, s->stride, s->dilation, s->before, s->after);
  return status ? status : dnnl_primitive_desc_create(&j->desc, &op, attr, engine, hint);
}

static dnnl_status_t dense_desc(job *j, dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
  const shape *s = &j->s;
  dnnl_inner_product_desc_t op;
  const dnnl_memory_desc_t *x = &j->parts[X].inner, *w = &j->parts[W].inner,
                           *b = j->parts[B].arg ? &j->parts[B].inner : NULL,
                           *y = &j->parts[Y].inner;
  dnnl_status_t status;
  if (s->kind == FORWARD)
    status = dnnl_inner_product_forward_desc_init(&op, dnnl_forward_training, x, w, b, y);
  else if (s->kind == DATA) status = dnnl_inner_product_backward_data_desc_init(&op, x, w, y);
  else status = dnnl_inner_product_backward_weights_desc_init(&op, x, w, b, y);
  return status ? status : dnnl_primitive_desc_create(&j->desc, &op, attr, engine, hint);
}

static dnnl_status_t make_desc(job *j, dnnl_primitive_desc_t hint) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_status_t status = dnnl_primitive_attr_create(&attr);
  if (!status) status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  if (!status) status = describe_parts(j);
  if (!status) status = (j->s.op == CONV ? conv_desc : dense_desc)(j, hint, attr);
  if (attr) dnnl_primitive_attr_destroy(attr);
  return status;
}

/* The layouts that oneDNN chose, and where what is not plain lies in the scratch memory. */
static void lay_out(job *j) {
  size_t at = 0;
  for (int i = 0; i < PARTS; i++) {
    part *p = &j->parts[i];
    if (!p->arg) continue;
    p->inner = *dnnl_primitive_desc_query_md(j->desc, dnnl_query_exec_arg_md, p->arg);
    p->at = at;
    if (!dnnl_memory_desc_equal(&p->plain, &p->inner))
      at += aligned(dnnl_memory_desc_get_size(&p->inner));
  }
  j->scratchpad = *dnnl_primitive_desc_query_md(j->desc, dnnl_query_scratchpad_md, 0);
  j->scratchpad_at = at;
  j->bytes = at + aligned(dnnl_memory_desc_get_size(&j->scratchpad)) + ALIGN;
}

static dnnl_status_t plan(job *j) {
  dnnl_status_t status = dnnl_success;
  job forward = {.s = j->s};
  forward.s.kind = FORWARD;
  if (j->s.kind != FORWARD) status = make_desc(&forward, NULL);
  if (!status) status = make_desc(j, forward.desc);
  if (forward.desc) dnnl_primitive_desc_destroy(forward.desc);
  if (!status) lay_out(j);
  return status;
}

/* The code: made when the job first runs. */
static dnnl_status_t build(job *j) {
  dnnl_status_t status = dnnl_primitive_create(&j->primitive, j->desc);
  for (int i = 0; i < PARTS && !status; i++) {
    part *p = &j->parts[i];
    if (!p->arg || dnnl_memory_desc_equal(&p->plain, &p->inner)) continue;
    dnnl_primitive_desc_t desc = NULL;
    status =
        p->output
            ? dnnl_reorder_primitive_desc_create(&desc, &p->inner, engine, &p->plain, engine, NULL)
            : dnnl_reorder_primitive_desc_create(&desc, &p->plain, engine, &p->inner, engine, NULL);
    if (!status) status = dnnl_primitive_create(&p->reorder, desc);
    if (desc) dnnl_primitive_desc_destroy(desc);
  }
  return status;
}

/* The job for a shape, `built` or only planned. NULL when memory is short. */
static job *find_job(const shape *s, bool built) {
  pthread_mutex_lock(&lock);
  job *j = jobs;
  if (!engine) dnnl_engine_create(&engine, dnnl_cpu, 0);
  if (engine && !stream) dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
  while (j && memcmp(&j->s, s, sizeof *s) != 0) j = j->next;
  if (!j && stream && (j = calloc(1, sizeof *j))) {
    memcpy(&j->s, s, sizeof *s);
    j->status = plan(j);
    j->next = jobs;
    jobs = j;
  }
  if (j && built && !j->ready && !j->status) {
    j->status = build(j);
    j->ready = true;
  }
  pthread_mutex_unlock(&lock);
  return j;
}

/* ---- running ----------------------------------------------------------------------------------- */

static dnnl_status_t reorder(const part *p, void *plain, void *inner) {
  dnnl_exec_arg_t args[2];
  dnnl_memory_t a = NULL, b = NULL;
  dnnl_status_t status = dnnl_memory_create(&a, &p->plain, engine, plain);
  if (!status) status = dnnl_memory_create(&b, &p->inner, engine, inner);
  args[0] = (dnnl_exec_arg_t){p->output ? DNNL_ARG_TO : DNNL_ARG_FROM, a};
  args[1] = (dnnl_exec_arg_t){p->output ? DNNL_ARG_FROM : DNNL_ARG_TO, b};
  if (!status) status = dnnl_primitive_execute(p->reorder, stream, 2, args);
  if (a) dnnl_memory_destroy(a);
  if (b) dnnl_memory_destroy(b);
  return status;
}

/* arrays: of each part, as Moonwalk has it. */
static dnnl_status_t run_job(const job *j, void *const arrays[PARTS], char *scratch) {
  dnnl_exec_arg_t args[PARTS + 1];
  int n = 0;
  dnnl_status_t status = dnnl_success;
  scratch += ALIGN - (uintptr_t)scratch % ALIGN;
  for (int i = 0; i < PARTS && !status; i++) {
    const part *p = &j->parts[i];
    if (!p->arg) continue;
    void *inner = p->reorder ? scratch + p->at : arrays[i];
    if (p->reorder && !p->output) status = reorder(p, arrays[i], inner);
    args[n].arg = p->arg;
    if (!status) status = dnnl_memory_create(&args[n].memory, &p->inner, engine, inner);
    n += !status;
  }
  args[n].arg = DNNL_ARG_SCRATCHPAD;
  if (!status)
    status =
        dnnl_memory_create(&args[n].memory, &j->scratchpad, engine, scratch + j->scratchpad_at);
  n += !status;
  if (!status) status = dnnl_primitive_execute(j->primitive, stream, n, args);
  for (int i = 0; i < n; i++) dnnl_memory_destroy(args[i].memory);
  for (int i = 0; i < PARTS && !status; i++)
    if (j->parts[i].reorder && j->parts[i].output)
      status = reorder(&j->parts[i], arrays[i], scratch + j->parts[i].at);
  return status;
}

static mw_status run_kind(const mw_call *call, int kind, int threads, void *const arrays[PARTS]) {
  const shape s = shape_of(call, kind, threads);
  const job *j = find_job(&s, true);
  if (!j) return mw_fail(call, "oneDNN: out of memory");
  const dnnl_status_t status = j->status ? j->status : run_job(j, arrays, call->scratch);
  return status ? mw_fail(call, "oneDNN: its status is %d", (int)status) : MW_OK;
}

/* Without dw: the sum over rows or planes, which oneDNN has only together with it. */
static void sum_bias(const shape *s, const float *dy, float *db) {
  const int64_t plane = s->op == CONV ? s->oh * s->ow : 1;
  for (int64_t o = 0; o < s->o; o++) {
    double sum = 0;
    for (int64_t n = 0; n < s->n; n++)
      for (int64_t i = 0; i < plane; i++) sum += (double)dy[(n * s->o + o) * plane + i];
    db[o] = (float)sum;
  }
}

static mw_status backward_with(const mw_call *call, int threads) {
  void *x = call->in[0].data, *w = call->in[1].data, *dy = call->dout[0].data;
  void *dx = call->din[0].data, *dw = call->din[1].data, *db = call->din[2].data;
  if (!dy) {
    for (int i = 0; i < 3; i++)
      if (call->din[i].data)
        memset(call->din[i].data, 0, (size_t)call->din[i].count * sizeof(float));
    return MW_OK;
  }
  const shape s = shape_of(call, WEIGHTS, threads);
  if (dx && run_kind(call, DATA, threads, (void *[]){dx, w, NULL, dy})) return MW_FAILED;
  if (!dw && db) sum_bias(&s, dy, db);
  if (!dw) return MW_OK;
  void *unwanted = s.biased && !db ? malloc((size_t)s.o * sizeof(float)) : NULL;
  if (s.biased && !db && !unwanted) return mw_fail(call, "oneDNN: out of memory");
  mw_status status = run_kind(call, WEIGHTS, threads, (void *[]){x, dw, db ? db : unwanted, dy});
  free(unwanted);
  return status;
}

static mw_status run(const mw_call *call) {
  const int threads = call->host->threads(call->context);
  const int before = omp_get_max_threads ? omp_get_max_threads() : 1;
  if (omp_set_num_threads) omp_set_num_threads(threads);
  void *const arrays[PARTS] = {call->in[0].data, call->in[1].data, call->in[2].data,
                               call->out[0].data};
  const mw_status status =
      call->backward ? backward_with(call, threads) : run_kind(call, FORWARD, threads, arrays);
  if (omp_set_num_threads) omp_set_num_threads(before);
  return status;
}

/* For as many threads as there are now, and for one: a call may come to run among others. */
static void workspace(const mw_call *call, mw_workspace *need) {
  const int most = call->host->threads(call->context);
  const int before = omp_get_max_threads ? omp_get_max_threads() : 1;
  for (int threads = most;; threads = 1) {
    if (omp_set_num_threads) omp_set_num_threads(threads);
    for (int kind = call->backward ? DATA : FORWARD; kind <= (call->backward ? WEIGHTS : FORWARD);
         kind++) {
      const shape s = shape_of(call, kind, threads);
      const job *j = find_job(&s, false);
      if (j && j->bytes > need->call) need->call = j->bytes;
    }
    if (threads == 1) break;
  }
  if (omp_set_num_threads) omp_set_num_threads(before);
}

/* ---- the kernels -------------------------------------------------------------------------------- */

static bool any_empty(const mw_call *call) {
  return call->in[0].count == 0 || call->in[1].count == 0 || call->out[0].count == 0;
}

static bool supports_conv(const mw_call *call) {
  const bool *flip = attribute(call, "flip");
  return attribute(call, "stride") && attribute(call, "dilation") && attribute(call, "padding") &&
         attribute(call, "groups") && !(flip && *flip) && !any_empty(call);
}

static bool supports_dense(const mw_call *call) { return !any_empty(call); }

static const mw_kernel conv2d = {.op = "conv2d",
                                 .name = "onednn",
                                 .priority = -10,
                                 .supports = supports_conv,
                                 .forward = run,
                                 .backward = run,
                                 .workspace = workspace};

static const mw_kernel dense = {.op = "dense",
                                .name = "onednn",
                                .priority = -10,
                                .supports = supports_dense,
                                .forward = run,
                                .backward = run,
                                .workspace = workspace};

MW_PLUGIN_WITH_KERNELS((NULL), (&conv2d, &dense))
