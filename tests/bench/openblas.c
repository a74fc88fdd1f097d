/* openblas.c: the process that measures OpenBLAS for `make bench`. */
#include <cblas.h>

#include "asked.h"

static int m, n, k;
static float *a, *b, *c;

static void setup(const work *w) {
  free(a), free(b), free(c);
  m = w->sizes[0], n = w->sizes[1], k = w->sizes[2];
  a = filled((size_t)(m * k)), b = filled((size_t)(k * n)), c = filled((size_t)(m * n));
}

static void run(void) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a, k, b, n, 0, c, n);
}

int main(void) {
  static const work works[] = {{"product.512x512x512", setup, run, {512, 512, 512}},
                               {"product.128x512x784", setup, run, {128, 512, 784}},
                               {0}};
  answer_all(works, openblas_get_config());
  return 0;
}
