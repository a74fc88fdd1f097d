/* signature.h: what a C function takes and gives, read from a text such as
 * "i32(i32 n, f64* x[n], fn report, void* instance)". */
#ifndef MW_SIGNATURE_H
#define MW_SIGNATURE_H

#define MW_NO_REAL
#include "../graph/moonwalk.h"

enum { MW_C_MOST = 24, MW_C_NAME = 32, MW_C_FACTORS = 4, MW_C_PROBLEM = 160 };

typedef enum mw_c_type {
  MW_C_VOID,
  MW_C_F32,
  MW_C_F64,
  MW_C_I8,
  MW_C_I16,
  MW_C_I32,
  MW_C_I64,
  MW_C_U8,
  MW_C_U16,
  MW_C_U32,
  MW_C_U64,
  MW_C_STR, /* a C string, const char* */
  MW_C_FN   /* a function's address */
} mw_c_type;

/* An element of a buffer's length: a number, or a parameter that comes before or after. */
typedef struct mw_c_factor {
  int parameter; /* or -1 */
  int64_t number;
} mw_c_factor;

typedef struct mw_c_parameter {
  mw_c_type type;
  bool pointer, is_const;
  int n_factors; /* 0: the length is not declared */
  mw_c_factor factors[MW_C_FACTORS];
  char name[MW_C_NAME]; /* "" when it has none */
} mw_c_parameter;

typedef struct mw_signature {
  mw_c_parameter result; /* MW_C_VOID, no pointer: nothing */
  mw_c_parameter parameters[MW_C_MOST];
  int n;
} mw_signature;

/* False with the reason in problem. */
bool mw_signature_parse(mw_signature *s, const char *text, char problem[MW_C_PROBLEM]);

/* One value as it is passed. Small integers are widened in results: see mw_c_widen. */
typedef union mw_c_value {
  float f32;
  double f64;
  int8_t i8;
  int16_t i16;
  int32_t i32;
  int64_t i64;
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  void *pointer;
} mw_c_value;

size_t mw_c_size(mw_c_type type); /* of an element; 1 for void */
const char *mw_c_name(mw_c_type type);
mw_c_type mw_c_of(mw_dtype dtype);   /* MW_C_VOID: none */
mw_dtype mw_c_dtype(mw_c_type type); /* MW_NONE: none */
struct _ffi_type *mw_c_ffi(const mw_c_parameter *p);
/* libffi returns an integer that is smaller than a word as a word: these go there and back. */
void mw_c_widen(const mw_c_parameter *p, mw_c_value *value);
void mw_c_narrow(const mw_c_parameter *p, mw_c_value *value);
/* The product of the factors; values[i] belongs to parameter i. -1 when one is negative or the
 * product is too large. */
int64_t mw_c_length(const mw_signature *s, const mw_c_parameter *p, const mw_c_value *values);

#endif
