/* ffi.c: ops whose kernel is a C function that exists already, called through libffi. */
#include "ffi.h"

#include <dlfcn.h>
#include <ffi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/internal.h"
#include "plugin.h"
#include "signature.h"

/* Elements of a chunk, few since calls are slow; and of a block, which is converted at once. */
enum { MOST = MW_FFI_MOST, GRAIN = 1024, BLOCK = 128 };

typedef enum role { NUMBER, INPUT, OUTPUT } role;

typedef struct part {
  role role;
  int position; /* among those of its role */
} part;

typedef struct binding {
  mw_op op;
  ffi_cif cif;
  ffi_type *types[MW_C_MOST];
  mw_signature signature;
  part parts[MW_C_MOST]; /* of each parameter */
  int n_inputs, n_outputs, n_numbers;
  bool serial;
  void (*function)(void);
  void *library, *data;
  void (*release)(void *data);
  mw_status (*rule)(mw_infer *it, double numbers[MW_FFI_NUMBERS]);
  char *texts[3];
} binding;

/* What a node of a function of buffers keeps: its numbers, as its infer found them. */
typedef struct numbers {
  double at[MW_FFI_NUMBERS];
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

/* Of the types that a signature may have, an op has those of tensors, and void* among its
 * numbers. */
static const char *check_types(const mw_signature *s) {
  const mw_c_parameter *result = &s->result;
  if (result->pointer) return "no pointer can be returned";
  if (result->type != MW_C_VOID && !mw_c_dtype(result->type))
    return "the result is void, f32, f64, i32, i64 or u8";
  for (int i = 0; i < s->n; i++)
    if (!mw_c_dtype(s->parameters[i].type) && s->parameters[i].type != MW_C_VOID)
      return "the types are f32, f64, i32, i64 and u8";
  return NULL;
}

static bool is_buffer(const mw_c_parameter *p) { return p->pointer && p->type != MW_C_VOID; }

/* Sorts the parameters into inputs, outputs and numbers, and names those that have no name. */
static const char *assign_roles(binding *b) {
  mw_signature *s = &b->signature;
  bool buffers = false, pointers = false;
  for (int i = 0; i < s->n; i++) {
    buffers |= is_buffer(&s->parameters[i]);
    pointers |= s->parameters[i].pointer;
  }
  for (int i = 0; i < s->n; i++) {
    mw_c_parameter *p = &s->parameters[i];
    part *at = &b->parts[i];
    at->role = !is_buffer(p) ? pointers ? NUMBER : INPUT : p->is_const ? INPUT : OUTPUT;
    at->position = at->role == INPUT    ? b->n_inputs++
                   : at->role == OUTPUT ? b->n_outputs++
                                        : b->n_numbers++;
    if (at->role == NUMBER && at->position >= MW_FFI_NUMBERS)
      return "there are more than 16 numbers";
    if (at->role != NUMBER && at->position >= MOST)
      return "there are more than 8 parameters of a kind";
    if (*p->name) continue;
    if (pointers) return "the parameters of a function of buffers need names";
    if (s->n == 1) snprintf(p->name, sizeof p->name, "x");
    else snprintf(p->name, sizeof p->name, "%c", 'a' + i);
  }
  if (!b->n_inputs) return "it takes no tensor";
  if (!buffers && s->result.type == MW_C_VOID) return "a function of numbers has a result";
  if (buffers && !b->n_outputs) return "no parameter is an output: a pointer that is not const";
  if (buffers && s->result.type != MW_C_VOID && s->result.type != MW_C_I32)
    return "a function of buffers returns void, or i32: 0 when it went well";
  return NULL;
}

/* ---- functions of numbers ------------------------------------------------------------------ */

static mw_status infer_elements(mw_infer *it) {
  const binding *b = it->op->data;
  char text[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  bool integers = true;
  for (int i = 0; i < b->signature.n; i++)
    integers &= !mw_is_float(mw_c_dtype(b->signature.parameters[i].type));
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

/* A number that a type cannot hold becomes the nearest that it can; NaN becomes 0. */
static int64_t whole(double value, double least, double most) {
  if (!(value > least)) return value != value ? 0 : (int64_t)least;
  return value >= most ? most < 0x1p62 ? (int64_t)most : INT64_MAX : (int64_t)value;
}

static double load(const void *data, mw_dtype dtype, int64_t i) {
  switch (dtype) {
    case MW_F32: return (double)((const float *)data)[i];
    case MW_F64: return ((const double *)data)[i];
    case MW_I32: return ((const int32_t *)data)[i];
    case MW_I64: return (double)((const int64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
  }
}

static void store(void *data, mw_dtype dtype, int64_t i, double value) {
  switch (dtype) {
    case MW_F32: ((float *)data)[i] = (float)value; break;
    case MW_F64: ((double *)data)[i] = value; break;
    case MW_I32: ((int32_t *)data)[i] = (int32_t)whole(value, INT32_MIN, INT32_MAX); break;
    case MW_I64:
      ((int64_t *)data)[i] = whole(value, -9223372036854775808.0, 9223372036854775808.0);
      break;
    default: ((uint8_t *)data)[i] = (uint8_t)whole(value, 0, UINT8_MAX); break;
  }
}

/* n elements from one dtype to another; step 0 repeats the first. The loops of the common cases
 * have no switch inside. */
static void convert(const void *from, mw_dtype have, int64_t first, int64_t step, void *to,
                    mw_dtype want, int64_t at, int64_t n) {
  const size_t size = mw_dtype_size(have);
  if (have == want && step == 1) {
    memcpy((char *)to + (size_t)at * size, (const char *)from + (size_t)first * size,
           (size_t)n * size);
  } else if (have == want) {
    for (int64_t i = 0; i < n; i++)
      memcpy((char *)to + (size_t)(at + i) * size,
             (const char *)from + (size_t)(first + i * step) * size, size);
  } else if (have == MW_F32 && want == MW_F64) {
    const float *x = (const float *)from + first;
    double *y = (double *)to + at;
    for (int64_t i = 0; i < n; i++) y[i] = (double)x[i * step];
  } else if (have == MW_F64 && want == MW_F32) {
    const double *x = (const double *)from + first;
    float *y = (float *)to + at;
    for (int64_t i = 0; i < n; i++) y[i] = (float)x[i * step];
  } else {
    for (int64_t i = 0; i < n; i++) store(to, want, at + i, load(from, have, first + i * step));
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

/* Elements at .. at + n of x as it is broadcast to y, as the function takes them: row by row, in
 * which x either advances or stands. */
static void gather(const mw_array *x, const mw_spec *y, int64_t at, int64_t n, void *to,
                   mw_dtype want) {
  const mw_spec *spec = &x->spec;
  if (x->count == mw_spec_count(y)) {
    convert(x->data, spec->dtype, at, 1, to, want, 0, n);
    return;
  }
  const int64_t row = y->rank ? y->shape[y->rank - 1] : 1;
  const int64_t step = spec->rank && spec->shape[spec->rank - 1] > 1;
  for (int64_t done = 0; done < n;) {
    const int64_t left = row - (at + done) % row, run = left < n - done ? left : n - done;
    convert(x->data, spec->dtype, place(spec, y, at + done), step, to, want, done, run);
    done += run;
  }
}

typedef struct block {
  _Alignas(8) char in[MOST][BLOCK * 8], out[BLOCK * 8];
} block;

/* The functions that most libraries have are called as they are; it saves libffi's 20 ns. */
static bool call_directly(const binding *b, block *k, int64_t n) {
  const mw_c_type type = b->signature.result.type;
  const int arity = b->signature.n;
  if ((type != MW_C_F64 && type != MW_C_F32) || arity > 2) return false;
  for (int i = 0; i < arity; i++)
    if (b->signature.parameters[i].type != type) return false;
  const double *x = (const void *)k->in[0], *w = (const void *)k->in[1];
  const float *xf = (const void *)k->in[0], *wf = (const void *)k->in[1];
  double *y = (void *)k->out;
  float *yf = (void *)k->out;
  if (type == MW_C_F64 && arity == 1) {
    double (*f)(double) = (double (*)(double))b->function;
    for (int64_t i = 0; i < n; i++) y[i] = f(x[i]);
  } else if (type == MW_C_F64) {
    double (*f)(double, double) = (double (*)(double, double))b->function;
    for (int64_t i = 0; i < n; i++) y[i] = f(x[i], w[i]);
  } else if (arity == 1) {
    float (*f)(float) = (float (*)(float))b->function;
    for (int64_t i = 0; i < n; i++) yf[i] = f(xf[i]);
  } else {
    float (*f)(float, float) = (float (*)(float, float))b->function;
    for (int64_t i = 0; i < n; i++) yf[i] = f(xf[i], wf[i]);
  }
  return true;
}

static void call_by_ffi(const binding *b, block *k, int64_t n) {
  const mw_signature *s = &b->signature;
  const size_t size = mw_c_size(s->result.type);
  void *arguments[MOST];
  ffi_cif cif = b->cif; /* ffi_call does not say that it leaves it alone */
  for (int64_t at = 0; at < n; at++) {
    mw_c_value result = {.u64 = 0};
    for (int i = 0; i < s->n; i++)
      arguments[i] = k->in[i] + (size_t)at * mw_c_size(s->parameters[i].type);
    ffi_call(&cif, b->function, &result, arguments);
    mw_c_narrow(&s->result, &result);
    memcpy(k->out + (size_t)at * size, &result, size);
  }
}

static void elements_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const binding *b = call->op->data;
  const mw_signature *s = &b->signature;
  const mw_array *y = &call->out[0];
  const int64_t end = mw_chunk_end(y->count, GRAIN, chunk);
  block k;
  (void)worker;
  for (int64_t at = chunk * GRAIN; at < end; at += BLOCK) {
    const int64_t n = end - at < BLOCK ? end - at : BLOCK;
    for (int i = 0; i < s->n; i++)
      gather(&call->in[i], &y->spec, at, n, k.in[i], mw_c_dtype(s->parameters[i].type));
    if (!call_directly(b, &k, n)) call_by_ffi(b, &k, n);
    convert(k.out, mw_c_dtype(s->result.type), 0, 1, y->data, y->spec.dtype, at, n);
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

/* A number as it is passed. An address comes as a number too, which holds it: it has 48 bits. */
static mw_c_value number_value(const mw_c_parameter *p, double value) {
  mw_c_value result = {.u64 = 0};
  if (p->pointer) result.pointer = (void *)(uintptr_t)value;
  else store(&result, mw_c_dtype(p->type), 0, value);
  return result;
}

static mw_status check_numbers(mw_infer *it, const binding *b, const double *given,
                               mw_c_value *values) {
  for (int i = 0; i < b->signature.n; i++) {
    const mw_c_parameter *p = &b->signature.parameters[i];
    const mw_dtype type = mw_c_dtype(p->type);
    if (b->parts[i].role != NUMBER) continue;
    const double value = given[b->parts[i].position];
    values[i] = number_value(p, value);
    if (!p->pointer && !mw_is_float(type) && load(&values[i], type, 0) != value)
      return mw_fail(it, "infer gives %s as %.17g, expected a whole number that %s holds", p->name,
                     value, mw_dtype_name(type));
  }
  return MW_OK;
}

/* Where the signature says how long a buffer is, the tensor must not be shorter. */
static mw_status check_lengths(mw_infer *it, const binding *b, const mw_c_value *values) {
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < b->signature.n; i++) {
    const mw_c_parameter *p = &b->signature.parameters[i];
    const part *at = &b->parts[i];
    if (at->role == NUMBER || !p->n_factors) continue;
    const mw_spec *spec = at->role == INPUT ? &it->in[at->position] : &it->out[at->position];
    const int64_t length = mw_c_length(&b->signature, p, values);
    if (length < 0) return mw_fail(it, "the length of %s is negative or too large", p->name);
    if (mw_spec_count(spec) < length)
      return mw_fail(it, "%s is %s, but the function uses %lld elements of it", p->name,
                     mw_spec_text(spec, text), (long long)length);
  }
  return MW_OK;
}

static mw_status infer_buffers(mw_infer *it) {
  const binding *b = it->op->data;
  double *given = ((numbers *)it->attrs)->at;
  mw_c_value values[MW_C_MOST] = {{0}};
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < b->signature.n; i++) {
    const mw_c_parameter *p = &b->signature.parameters[i];
    const part *at = &b->parts[i];
    const mw_dtype type = mw_c_dtype(p->type);
    if (at->role == OUTPUT) it->out[at->position] = (mw_spec){.dtype = type};
    if (at->role != INPUT || it->in[at->position].dtype == type) continue;
    return mw_fail(it, "%s is %s, but the function takes %s; use :cast", p->name,
                   mw_spec_text(&it->in[at->position], text), mw_dtype_name(type));
  }
  if (b->rule(it, given) || check_numbers(it, b, given, values)) return MW_FAILED;
  for (int j = 0; j < b->n_outputs; j++)
    if (mw_spec_check(it->context, &it->out[j])) return MW_FAILED;
  return check_lengths(it, b, values);
}

static mw_status forward_buffers(const mw_call *call) {
  const binding *b = call->op->data;
  const mw_signature *s = &b->signature;
  const numbers *given = call->attrs;
  mw_c_value values[MW_C_MOST], result = {.u64 = 0};
  void *arguments[MW_C_MOST];
  ffi_cif cif = b->cif;
  for (int i = 0; i < s->n; i++) {
    const part *at = &b->parts[i];
    arguments[i] = &values[i];
    if (at->role == NUMBER) values[i] = number_value(&s->parameters[i], given->at[at->position]);
    else
      values[i].pointer =
          at->role == INPUT ? call->in[at->position].data : call->out[at->position].data;
  }
  ffi_call(&cif, b->function, &result, arguments);
  mw_c_narrow(&s->result, &result);
  const int status = s->result.type == MW_C_I32 ? result.i32 : 0;
  return status ? mw_fail(call, "the function returned %d, expected 0", status) : MW_OK;
}

/* ---- registering --------------------------------------------------------------------------- */

static mw_status find_function(mw_context *ctx, binding *b, const mw_foreign *f) {
  dlerror();
  /* Never unloaded: a library may have threads, or be needed by what it has made. */
  b->library = dlopen(f->library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
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
  mw_signature *s = &b->signature;
  char text[MW_C_PROBLEM];
  const char *problem = mw_signature_parse(s, f->signature, text) ? check_types(s) : text;
  if (!problem) problem = assign_roles(b);
  if (!problem && b->n_outputs && !f->rule) problem = "a function of buffers needs a rule (infer)";
  if (problem) return mw_set_error(ctx, "%s: signature \"%s\": %s", f->name, f->signature, problem);
  for (int i = 0; i < s->n; i++) b->types[i] = mw_c_ffi(&s->parameters[i]);
  if (ffi_prep_cif(&b->cif, FFI_DEFAULT_ABI, (unsigned)s->n, mw_c_ffi(&s->result), b->types) !=
      FFI_OK)
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
                  .flags = f->gradient || f->rule ? MW_VARIES : 0, /* a rule is asked each time */
                  .gradient = f->gradient,
                  .data = b};
  for (int i = 0; i < b->signature.n; i++) {
    const char *name = b->signature.parameters[i].name;
    if (b->parts[i].role == INPUT) b->op.inputs[b->parts[i].position].name = name;
    if (b->parts[i].role == OUTPUT) b->op.outputs[b->parts[i].position].name = name;
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

const char *mw_foreign_number(const mw_op *op, int i, bool *is_address) {
  const binding *b = op->data;
  for (int k = 0; k < b->signature.n; k++) {
    if (b->parts[k].role != NUMBER || b->parts[k].position != i) continue;
    *is_address = b->signature.parameters[k].pointer;
    return b->signature.parameters[k].name;
  }
  return NULL;
}
