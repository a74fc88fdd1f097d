/* ffi.h: C functions that exist already as ops, called through libffi. */
#ifndef MW_FFI_H
#define MW_FFI_H

#define MW_NO_REAL
#include "../graph/moonwalk.h"

/* A function of numbers, such as "f64(f64 x, f64 y)", becomes an elementwise op: of each element of
 * its inputs, which broadcast. The inputs are f32 or f64, or integers where the function takes
 * integers alone; each element is converted to what the function takes, and its result to the dtype
 * of the inputs.
 *
 * A function of buffers, such as "void(const f32* x, f32* y, i64 n)", becomes an op of whole
 * tensors: what is const* is an input, what is * an output, and numbers between them are given by
 * `rule`, addresses (void*) too. "const f32* x[n]" says how long x is, which is then checked. A
 * function that returns i32 says by it how it went: 0 is well.
 *
 * Types are f32 f64 i32 i64 u8. Nothing can check that the function is what the signature says. */
#define MW_FFI_MOST 8     /* inputs, and outputs */
#define MW_FFI_NUMBERS 16 /* numbers of a function of buffers */

typedef struct mw_foreign {
  const char *name, *doc, *example; /* doc and example may be NULL */
  const char *library;              /* as dlopen() takes it; NULL: the program itself */
  const char *symbol, *signature;
  bool serial; /* it must not run on several threads at once */
  /* Buffers: fills the shapes of it->out[], and the numbers in their order. */
  mw_status (*rule)(mw_infer *it, double numbers[MW_FFI_NUMBERS]);
  mw_status (*gradient)(mw_build *b); /* or NULL */
  void *data;                         /* for rule and gradient: see mw_foreign_data() */
  void (*release)(void *data);        /* called when the op goes */
} mw_foreign;

/* Registers the op; all texts are copied. data is taken, also after a failure. */
MW_EXPORT mw_status mw_foreign_op(mw_context *ctx, const char *origin, const mw_foreign *foreign);
MW_EXPORT void *mw_foreign_data(const mw_op *op);
/* The name of the i-th number of a function of buffers, and whether it is an address; or NULL. */
MW_EXPORT const char *mw_foreign_number(const mw_op *op, int i, bool *is_address);

#endif
