/* onednn.c: the process that measures oneDNN for `make bench`: its own kernels, in whatever blocked
 * layouts they like best, which costs it nothing here. The C API of oneDNN 2. */
#include <oneapi/dnnl/dnnl.h>

#include "asked.h"

enum { FORWARD, INPUT, WEIGHTS };

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static dnnl_primitive_t primitive;
static dnnl_exec_arg_t args[3];

static void check(dnnl_status_t status, const char *what) {
  if (status == dnnl_success) return;
  fprintf(stderr, "onednn: %s fails with %d\n", what, (int)status);
  exit(1);
}

static dnnl_memory_desc_t any(dnnl_dim_t a, dnnl_dim_t b, dnnl_dim_t c, dnnl_dim_t d) {
  dnnl_memory_desc_t desc;
  dnnl_dims_t dims = {a, b, c, d};
  check(dnnl_memory_desc_init_by_tag(&desc, 4, dims, dnnl_f32, dnnl_format_tag_any), "a layout");
  return desc;
}

/* In the place of what was there before. */
static void make_memory(dnnl_memory_t *memory, const_dnnl_primitive_desc_t desc,
                        dnnl_query_t what) {
  const dnnl_memory_desc_t *layout = dnnl_primitive_desc_query_md(desc, what, 0);
  void *before = NULL;
  if (*memory) {
    check(dnnl_memory_get_data_handle(*memory, &before), "a memory");
    check(dnnl_memory_destroy(*memory), "a memory");
    free(before);
  }
  float *data = filled(dnnl_memory_desc_get_size(layout) / sizeof(float));
  check(dnnl_memory_create(memory, layout, engine, data), "a memory");
}

static dnnl_primitive_desc_t describe(int direction, int channels, int size) {
  const dnnl_memory_desc_t x = any(16, channels, size, size), w = any(channels, channels, 3, 3),
                           y = any(16, channels, size, size);
  const dnnl_dims_t ones = {1, 1};
  dnnl_convolution_desc_t desc;
  dnnl_primitive_desc_t forward, result;
  check(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training, dnnl_convolution_direct,
                                           &x, &w, NULL, &y, ones, ones, ones),
        "a convolution");
  check(dnnl_primitive_desc_create(&forward, &desc, NULL, engine, NULL), "a convolution");
  if (direction == FORWARD) return forward;
  if (direction == INPUT)
    check(dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct, &x, &w, &y, ones,
                                                   ones, ones),
          "an input gradient");
  else
    check(dnnl_convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, &x, &w, NULL,
                                                      &y, ones, ones, ones),
          "a weight gradient");
  check(dnnl_primitive_desc_create(&result, &desc, NULL, engine, forward), "a gradient");
  return result;
}

/* sizes: the direction, channels, and the size of the images. */
static void setup(const work *w) {
  static const struct {
    int arg;
    dnnl_query_t query;
  } parts[3][3] = {{{DNNL_ARG_SRC, dnnl_query_src_md},
                    {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                    {DNNL_ARG_DST, dnnl_query_dst_md}},
                   {{DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md},
                    {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                    {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}},
                   {{DNNL_ARG_SRC, dnnl_query_src_md},
                    {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
                    {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}}};
  const int direction = w->sizes[0];
  const dnnl_primitive_desc_t desc = describe(direction, w->sizes[1], w->sizes[2]);
  if (primitive) check(dnnl_primitive_destroy(primitive), "a primitive");
  for (int i = 0; i < 3; i++) {
    make_memory(&args[i].memory, desc, parts[direction][i].query);
    args[i].arg = parts[direction][i].arg;
  }
  check(dnnl_primitive_create(&primitive, desc), "a primitive");
}

static void run(void) {
  check(dnnl_primitive_execute(primitive, stream, 3, args), "a run");
  check(dnnl_stream_wait(stream), "a run");
}

int main(void) {
  static const work works[] = {{"conv64.forward", setup, run, {FORWARD, 64, 56}},
                               {"conv64.input", setup, run, {INPUT, 64, 56}},
                               {"conv64.weights", setup, run, {WEIGHTS, 64, 56}},
                               {"conv128.forward", setup, run, {FORWARD, 128, 28}},
                               {"conv128.input", setup, run, {INPUT, 128, 28}},
                               {"conv128.weights", setup, run, {WEIGHTS, 128, 28}},
                               {0}};
  char version[32];
  const dnnl_version_t *v = dnnl_version();
  snprintf(version, sizeof version, "%d.%d.%d", v->major, v->minor, v->patch);
  check(dnnl_engine_create(&engine, dnnl_cpu, 0), "an engine");
  check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "a stream");
  answer_all(works, version);
  return 0;
}
