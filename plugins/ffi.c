/* ffi.c: ops whose kernel is a C function that exists already, called through libffi. */
#include "ffi.h"

#include <ctype.h>
#include <dlfcn.h>
#include <ffi.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/internal.h"
#include "plugin.h"

enum { MOST = MW_FFI_MOST, LONGEST = 32, GRAIN = 1024 }; /* elements of a chunk: calls are slow */

typedef enum role { NUMBER, INPUT, OUTPUT } role;

typedef struct parameter {
  mw_dtype type;
  role role;
  int position; /* among those of its role */
  char name[LONGEST];
} parameter;

typedef struct binding {
  mw_op op;
  ffi_cif cif;
  ffi_type *types[3 * MOST];
  parameter parameters[3 * MOST], result; /* result.type MW_NONE: void */
  int n, n_inputs, n_outputs, n_numbers;
  bool serial;
  void (*function)(void);
  void *library, *data;
  void (*release)(void *data);
  mw_status (*rule)(mw_infer *it, double numbers[MW_FFI_MOST]);
  char *texts[3];
} binding;

/* What a node of a function of buffers keeps: its numbers, as its infer found them. */
typedef struct numbers {
  double at[MOST];
} numbers;

static void binding_free(void *owned) {
  binding *b = owned;
  if (!b) return;
  if (b->release) b->release(b->data);
  if (b->library) dlclose(b->library);
  for (int i = 0; i < 3; i++) free(b->texts[i]);
  free(b);
}

/* ---- the signature ------------------------------------------------------------------------- */

static ffi_type *ffi_type_of(mw_dtype type) {
  switch (type) {
    case MW_F32: return &ffi_type_float;
    case MW_F64: return &ffi_type_double;
    case MW_I32: return &ffi_type_sint32;
    case MW_I64: return &ffi_type_sint64;
    case MW_U8: return &ffi_type_uint8;
    default: return &ffi_type_void;
  }
}

static bool take_sign(const char **at, char sign) {
  while (isspace((unsigned char)**at)) (*at)++;
  if (**at != sign) return false;
  (*at)++;
  return true;
}

static bool take_word(const char **at, char word[LONGEST]) {
  size_t n = 0;
  while (isspace((unsigned char)**at)) (*at)++;
  while (isalnum((unsigned char)(*at)[n]) || (*at)[n] == '_') n++;
  if (n == 0 || n >= LONGEST) return false;
  memcpy(word, *at, n);
  word[n] = '\0';
  *at += n;
  return true;
}

/* const f32* x, f32* y, i64 n: a type by Moonwalk's name, and a name that may be left out. */
static const char *parse_parameter(const char **at, parameter *p) {
  char word[LONGEST];
  if (!take_word(at, word)) return "expected a parameter's type";
  bool is_const = strcmp(word, "const") == 0;
  if (is_const && !take_word(at, word)) return "expected a type after const";
  p->type = mw_dtype_named(word);
  if (p->type == MW_NONE || p->type == MW_BOOL) return "the types are f32, f64, i32, i64 and u8";
  bool pointer = take_sign(at, '*');
  p->role = pointer ? is_const ? INPUT : OUTPUT : NUMBER;
  if (!take_word(at, p->name)) p->name[0] = '\0';
  return NULL;
}

static const char *parse_signature(binding *b, const char *text) {
  const char *at = text;
  char word[LONGEST];
  if (!take_word(&at, word)) return "expected the type of the result";
  b->result.type = mw_dtype_named(word);
  if (b->result.type == MW_NONE && strcmp(word, "void") != 0)
    return "the result is void, f32, f64, i32, i64 or u8";
  if (!take_sign(&at, '(')) return "expected ( after the result; no pointer can be returned";
  while (!take_sign(&at, ')')) {
    if (b->n && !take_sign(&at, ',')) return "expected a comma or )";
    if (b->n == 3 * MOST) return "there are too many parameters";
    const char *problem = parse_parameter(&at, &b->parameters[b->n++]);
    if (problem) return problem;
  }
  while (isspace((unsigned char)*at)) at++;
  return *at ? "there is more after )" : NULL;
}

/* Sorts the parameters into inputs, outputs and numbers, and names those that have no name. */
static const char *assign_roles(binding *b) {
  bool buffers = false;
  for (int i = 0; i < b->n; i++) buffers |= b->parameters[i].role != NUMBER;
  for (int i = 0; i < b->n; i++) {
    parameter *p = &b->parameters[i];
    if (!buffers) p->role = INPUT; /* of an elementwise function every number is an input */
    p->position = p->role == INPUT    ? b->n_inputs++
                  : p->role == OUTPUT ? b->n_outputs++
                                      : b->n_numbers++;
    if (p->position >= MOST) return "there are more than 8 parameters of a kind";
    if (*p->name) continue;
    if (buffers) return "the parameters of a function of buffers need names";
    if (b->n == 1) snprintf(p->name, sizeof p->name, "x");
    else snprintf(p->name, sizeof p->name, "%c", 'a' + i);
  }
  if (!b->n_inputs) return "it takes no tensor";
  if (!buffers && b->result.type == MW_NONE) return "a function of numbers has a result";
  if (buffers && !b->n_outputs) return "no parameter is an output: a pointer that is not const";
  if (buffers && b->result.type != MW_NONE && b->result.type != MW_I32)
    return "a function of buffers returns void, or i32: 0 when it went well";
  return NULL;
}

/* ---- functions of numbers ------------------------------------------------------------------ */

static mw_status infer_elements(mw_infer *it) {
  const binding *b = it->op->data;
  char text[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  bool integers = true;
  for (int i = 0; i < b->n; i++) integers &= !mw_is_float(b->parameters[i].type);
  mw_spec y = it->in[0];
  if (!mw_is_float(y.dtype) && !(integers && y.dtype != MW_BOOL))
    return mw_fail(it, "%s is %s, expected f32 or f64%s; use :cast", it->op->inputs[0].name,
                   mw_spec_text(&y, text), integers ? " or integers" : "");
  for (int i = 1; i < it->n_in; i++) {
    const mw_spec *x = &it->in[i];
    if (mw_expect_same_dtype(it, i, 0)) return MW_FAILED;
    mw_spec merged = {.dtype = y.dtype, .rank = x->rank > y.rank ? x->rank : y.rank};
    for (int k = 1; k <= merged.rank; k++) {
      const int64_t p = k <= x->rank ? x->shape[x->rank - k] : 1;
      const int64_t q = k <= y.rank ? y.shape[y.rank - k] : 1;
      if (p != q && p != 1 && q != 1)
        return mw_fail(it, "%s is %s, which does not broadcast with %s before it",
                       it->op->inputs[i].name, mw_spec_text(x, text), mw_spec_text(&y, other));
      merged.shape[merged.rank - k] = p == 1 ? q : p;
    }
    y = merged;
  }
  it->out[0] = y;
  return MW_OK;
}

/* One element between a tensor and what the function takes or gives. */
typedef union element {
  float f32;
  double f64;
  int32_t i32;
  int64_t i64;
  uint8_t u8;
  ffi_arg word; /* libffi widens small results to this */
} element;

static double load(const void *data, mw_dtype dtype, int64_t i) {
  switch (dtype) {
    case MW_F32: return (double)((const float *)data)[i];
    case MW_F64: return ((const double *)data)[i];
    case MW_I32: return ((const int32_t *)data)[i];
    case MW_I64: return (double)((const int64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
  }
}

/* A number that the type cannot hold becomes the nearest that it can; NaN becomes 0. */
static int64_t whole(double value, double least, double most) {
  if (!(value > least)) return value != value ? 0 : (int64_t)least;
  return value >= most ? most < 0x1p62 ? (int64_t)most : INT64_MAX : (int64_t)value;
}

static element element_of(double value, mw_dtype type) {
  switch (type) {
    case MW_F32: return (element){.f32 = (float)value};
    case MW_F64: return (element){.f64 = value};
    case MW_I32: return (element){.i32 = (int32_t)whole(value, INT32_MIN, INT32_MAX)};
    case MW_I64: return (element){.i64 = whole(value, -0x1p63, 0x1p63)};
    default: return (element){.u8 = (uint8_t)whole(value, 0, UINT8_MAX)};
  }
}

static double number_of(const element *e, mw_dtype type) {
  switch (type) {
    case MW_F32: return (double)e->f32;
    case MW_F64: return e->f64;
    case MW_I32: return (int32_t)e->word;
    case MW_I64: return (double)e->i64;
    default: return (uint8_t)e->word;
  }
}

static void store(void *data, mw_dtype dtype, int64_t i, double value) {
  switch (dtype) {
    case MW_F32: ((float *)data)[i] = (float)value; break;
    case MW_F64: ((double *)data)[i] = value; break;
    case MW_I32: ((int32_t *)data)[i] = element_of(value, dtype).i32; break;
    case MW_I64: ((int64_t *)data)[i] = element_of(value, dtype).i64; break;
    default: ((uint8_t *)data)[i] = element_of(value, dtype).u8; break;
  }
}

/* The element of x that goes with element i of y. */
static int64_t place(const mw_spec *x, const mw_spec *y, int64_t i) {
  int64_t at = 0, step = 1;
  for (int k = 1; k <= x->rank; k++) {
    const int64_t size = x->shape[x->rank - k];
    if (size > 1) at += i % y->shape[y->rank - k] * step;
    step *= size;
    i /= y->shape[y->rank - k];
  }
  return at;
}

static void elements_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const binding *b = call->op->data;
  const mw_array *y = &call->out[0];
  const int64_t end = mw_chunk_end(y->count, GRAIN, chunk);
  element values[3 * MOST], result;
  void *arguments[3 * MOST];
  ffi_cif cif = b->cif; /* ffi_call does not say that it leaves it alone */
  (void)worker;
  for (int i = 0; i < b->n; i++) arguments[i] = &values[i];
  for (int64_t at = chunk * GRAIN; at < end; at++) {
    for (int i = 0; i < b->n; i++) {
      const mw_array *x = &call->in[i];
      const int64_t from = x->count == y->count ? at : place(&x->spec, &y->spec, at);
      values[i] = element_of(load(x->data, x->spec.dtype, from), b->parameters[i].type);
    }
    ffi_call(&cif, b->function, &result, arguments);
    store(y->data, y->spec.dtype, at, number_of(&result, b->result.type));
  }
}

static mw_status forward_elements(const mw_call *call) {
  const binding *b = call->op->data;
  const int64_t chunks = mw_chunks(call->out[0].count, GRAIN);
  if (!b->serial) mw_parallel(call, chunks, elements_chunk, (void *)(uintptr_t)call);
  for (int64_t chunk = 0; b->serial && chunk < chunks; chunk++)
    elements_chunk((void *)(uintptr_t)call, chunk, 0);
  return MW_OK;
}

/* ---- functions of buffers ------------------------------------------------------------------ */

static mw_status infer_buffers(mw_infer *it) {
  const binding *b = it->op->data;
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < b->n; i++) {
    const parameter *p = &b->parameters[i];
    if (p->role == OUTPUT) it->out[p->position] = (mw_spec){.dtype = p->type};
    if (p->role != INPUT || it->in[p->position].dtype == p->type) continue;
    return mw_fail(it, "%s is %s, but the function takes %s; use :cast", p->name,
                   mw_spec_text(&it->in[p->position], text), mw_dtype_name(p->type));
  }
  return b->rule(it, ((numbers *)it->attrs)->at);
}

static mw_status forward_buffers(const mw_call *call) {
  const binding *b = call->op->data;
  const numbers *given = call->attrs;
  element values[3 * MOST], result = {.i64 = 0};
  void *pointers[3 * MOST], *arguments[3 * MOST];
  ffi_cif cif = b->cif;
  for (int i = 0; i < b->n; i++) {
    const parameter *p = &b->parameters[i];
    if (p->role == NUMBER) {
      values[i] = element_of(given->at[p->position], p->type);
      arguments[i] = &values[i];
    } else {
      pointers[i] = p->role == INPUT ? call->in[p->position].data : call->out[p->position].data;
      arguments[i] = &pointers[i];
    }
  }
  ffi_call(&cif, b->function, &result, arguments);
  const int status = b->result.type == MW_I32 ? (int32_t)result.word : 0;
  return status ? mw_fail(call, "the function returned %d, expected 0", status) : MW_OK;
}

/* ---- registering --------------------------------------------------------------------------- */

static mw_status find_function(mw_context *ctx, binding *b, const mw_foreign *f) {
  dlerror();
  b->library = dlopen(f->library, RTLD_NOW | RTLD_LOCAL);
  if (!b->library)
    return mw_set_error(ctx, "%s: the library cannot be opened: %s", f->name, dlerror());
  void *symbol = dlsym(b->library, f->symbol);
  if (!symbol)
    return mw_set_error(ctx, "%s: %s has no function %s", f->name,
                        f->library ? f->library : "the program", f->symbol);
  memcpy(&b->function, &symbol, sizeof b->function); /* ISO C has no cast to a function */
  return MW_OK;
}

static mw_status prepare(mw_context *ctx, binding *b, const mw_foreign *f) {
  const char *problem = parse_signature(b, f->signature);
  if (!problem) problem = assign_roles(b);
  if (!problem && b->n_outputs && !f->rule) problem = "a function of buffers needs a rule";
  if (problem) return mw_set_error(ctx, "%s: signature \"%s\": %s", f->name, f->signature, problem);
  for (int i = 0; i < b->n; i++) {
    const parameter *p = &b->parameters[i];
    b->types[i] = b->n_outputs && p->role != NUMBER ? &ffi_type_pointer : ffi_type_of(p->type);
  }
  if (ffi_prep_cif(&b->cif, FFI_DEFAULT_ABI, (unsigned)b->n, ffi_type_of(b->result.type),
                   b->types) != FFI_OK)
    return mw_set_error(ctx, "%s: libffi cannot call \"%s\"", f->name, f->signature);
  return find_function(ctx, b, f);
}

static mw_status describe(mw_context *ctx, binding *b, const mw_foreign *f) {
  const char *texts[] = {f->name, f->doc ? f->doc : "A foreign function.",
                         f->example ? f->example : "none"};
  for (int i = 0; i < 3; i++)
    if (!(b->texts[i] = strdup(texts[i]))) return mw_no_memory(ctx);
  b->op = (mw_op){.name = b->texts[0],
                  .version = 1,
                  .doc = b->texts[1],
                  .example = b->texts[2],
                  .gradient = f->gradient,
                  .data = b};
  for (int i = 0; i < b->n; i++) {
    const parameter *p = &b->parameters[i];
    if (p->role == INPUT) b->op.inputs[p->position].name = p->name;
    if (p->role == OUTPUT) b->op.outputs[p->position].name = p->name;
  }
  if (b->n_outputs) {
    b->op.attrs_size = sizeof(numbers);
    b->op.infer = infer_buffers;
    b->op.forward = forward_buffers;
  } else {
    b->op.outputs[0].name = "y";
    b->op.infer = infer_elements;
    b->op.forward = forward_elements;
  }
  return MW_OK;
}

mw_status mw_foreign_op(mw_context *ctx, const char *origin, const mw_foreign *f) {
  binding *b = calloc(1, sizeof *b);
  if (!b) {
    if (f->release) f->release(f->data);
    return mw_no_memory(ctx);
  }
  b->data = f->data;
  b->release = f->release;
  b->rule = f->rule;
  b->serial = f->serial;
  if (!prepare(ctx, b, f) && !describe(ctx, b, f) &&
      !mw_plugin_add(ctx, origin, &b->op, b, binding_free))
    return MW_OK;
  binding_free(b);
  return MW_FAILED;
}

void *mw_foreign_data(const mw_op *op) { return ((const binding *)op->data)->data; }

const char *mw_foreign_number(const mw_op *op, int i) {
  const binding *b = op->data;
  for (int k = 0; k < b->n; k++)
    if (b->parameters[k].role == NUMBER && b->parameters[k].position == i)
      return b->parameters[k].name;
  return NULL;
}
