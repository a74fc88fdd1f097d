/* moonwalk.h: the whole public C interface of Moonwalk, for programs that embed it and for ops.
 *
 * Moonwalk builds a graph of tensors first and computes later. Applying an op gives tensors whose
 * dtype and shape are known at once and whose bytes are not; asking for bytes compiles what is
 * needed into a program and runs it. Gradients are more graph: mw_grad() walks backward from a
 * tensor and returns tensors, which may be computed, combined, or differentiated again.
 *
 *     mw_context *ctx = mw_context_new();                     // the shipped ops are registered
 *     mw_spec spec = mw_spec_of(MW_F32, 2, (int64_t[]){2, 3});
 *     mw_tensor *x = mw_constant(ctx, &spec, bytes);          // a leaf: bytes are copied in
 *     mw_tensor *w = mw_parameter(ctx, &spec, more, "w");     // a leaf that updates may replace
 *     mw_tensor *p = mw_apply(ctx, "mul", 2, (mw_tensor *[]){x, w}, 0, NULL);
 *     mw_tensor *y = mw_apply(ctx, "sum", 1, &p, 0, NULL);    // a scalar, not computed yet
 *     mw_tensor *dw;
 *     mw_grad(ctx, y, NULL, 1, &w, &dw);                      // dw is a tensor like any other
 *     mw_eval(ctx, 2, (mw_tensor *[]){y, dw});                // one program computes both
 *     printf("%g\n", *(const float *)mw_tensor_data(y));
 *     mw_release(dw); mw_release(y); mw_release(p); mw_release(w); mw_release(x);
 *     mw_context_free(ctx);
 *
 * Conventions. A function that can fail returns NULL or MW_FAILED, and mw_error() then says why.
 * A function that returns a tensor gives the caller a reference, which mw_release() gives back.
 * Values are dense and row-major; axes and indices count from 0 here, negative axes from the end.
 * A context and what belongs to it are used by one thread at a time; kernels use many threads.
 *
 * An op is a constant mw_op, handed over by MW_PLUGIN at the end of its file. An op's functions
 * call back only through the `host` table that they are given, so an op file links with nothing,
 * and cannot call the functions marked MW_EXPORT. The second half of this file is all that the
 * author of an op needs, with the specs and attributes above. */
#ifndef MOONWALK_H
#define MOONWALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MW_VERSION "0.1.0"
#define MW_ABI 1 /* grows when the meaning of something below changes; never for additions */
#define MW_MAX_RANK 8
#define MW_MAX_ARGS 8 /* declared inputs (or outputs) of an op; a variadic last input takes more */

#if defined __GNUC__
#define MW_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define MW_EXPORT __attribute__((visibility("default")))
#else
#define MW_PRINTF(text, first)
#define MW_EXPORT
#endif

typedef enum mw_status { MW_OK = 0, MW_FAILED = 1 } mw_status;

typedef enum mw_dtype { MW_NONE = 0, MW_F32, MW_F64, MW_I32, MW_I64, MW_U8, MW_BOOL } mw_dtype;

/* What is known of a tensor before it is computed. dtype MW_NONE marks an absent one. */
typedef struct mw_spec {
  mw_dtype dtype;
  int rank;                   /* 0 to MW_MAX_RANK; 0 is a scalar */
  int64_t shape[MW_MAX_RANK]; /* entries from rank on are 0 */
} mw_spec;

typedef struct mw_context mw_context; /* registry, program cache, arena, threads, random state */
typedef struct mw_tensor mw_tensor;   /* one output of a node, or a leaf; counted references */
typedef struct mw_program mw_program; /* a compiled order, memory plan and kernels */
typedef struct mw_op mw_op;

/* ---- specs ------------------------------------------------------------------------------- */

MW_EXPORT mw_spec mw_spec_of(mw_dtype dtype, int rank, const int64_t *shape);
MW_EXPORT size_t mw_dtype_size(mw_dtype dtype);       /* bytes of one element; 0 for MW_NONE */
MW_EXPORT const char *mw_dtype_name(mw_dtype dtype);  /* "f32", ... */
MW_EXPORT mw_dtype mw_dtype_named(const char *name);  /* MW_NONE when unknown */
MW_EXPORT int64_t mw_spec_count(const mw_spec *spec); /* number of elements; 1 for a scalar */
MW_EXPORT size_t mw_spec_bytes(const mw_spec *spec);
MW_EXPORT bool mw_spec_equal(const mw_spec *a, const mw_spec *b);
/* Writes "f32[64,1,28,28]" to text, always terminated, and returns text. */
#define MW_SPEC_TEXT 200
MW_EXPORT const char *mw_spec_text(const mw_spec *spec, char text[MW_SPEC_TEXT]);

/* ---- context ----------------------------------------------------------------------------- */

MW_EXPORT mw_context *mw_context_new(void);      /* NULL when memory is short */
MW_EXPORT void mw_context_free(mw_context *ctx); /* tensors that outlive it keep it alive */
MW_EXPORT const char *mw_error(
    const mw_context *ctx); /* the last failure; "" when there was none */

/* Threads that kernels may use, at least 1. Results have the same bits whatever the number. */
MW_EXPORT void mw_threads_set(mw_context *ctx, int threads);
MW_EXPORT int mw_threads(const mw_context *ctx);

/* Random numbers are Philox4x32-10 (Salmon et al., SC 2011), a function of the seed and of how
 * many numbers were drawn before: independent of threads, and two words to save and restore. */
MW_EXPORT void mw_seed(mw_context *ctx, uint64_t seed);
MW_EXPORT void mw_random_state(const mw_context *ctx, uint64_t *seed, uint64_t *position);
MW_EXPORT void mw_random_restore(mw_context *ctx, uint64_t seed, uint64_t position);
/* Fills n elements of dtype f32 or f64: uniform in [low, high), or normal. */
MW_EXPORT void mw_random_uniform(mw_context *ctx, mw_dtype dtype, int64_t n, void *data, double low,
                                 double high);
MW_EXPORT void mw_random_normal(mw_context *ctx, mw_dtype dtype, int64_t n, void *data, double mean,
                                double deviation);
/* Fills order with the numbers 0 .. n-1 in random order (Fisher and Yates). */
MW_EXPORT void mw_random_permutation(mw_context *ctx, int64_t n, int64_t *order);

/* A random key: the words {seed, position} as an i64[2] leaf, after which the generator moves on by
 * `draws` positions. Random ops take one as an input, so that their values depend on nothing else;
 * where it is left out they draw it themselves. A program kept by hand gives the keys that its
 * graph was built with new values at each run. */
MW_EXPORT mw_tensor *mw_random_key(mw_context *ctx, int64_t draws);

/* Makes a running mw_eval() or mw_program_run() fail with "interrupted" before its next kernel.
 * Safe to call from a signal handler. */
MW_EXPORT void mw_interrupt(mw_context *ctx);

/* Origins: where the user built a tensor, such as "net.lua:9", for messages. What is built from now
 * on has the origin that was set last; what a gradient or a composition builds has that of the node
 * it comes from. mw_origin() keeps a text as long as the context lives, and gives the same pointer
 * for the same text; "" when it can keep no more. mw_origin_set() takes such a pointer, or NULL for
 * unknown, and returns the one before. */
MW_EXPORT const char *mw_origin(mw_context *ctx, const char *text);
MW_EXPORT const char *mw_origin_set(mw_context *ctx, const char *origin);

/* What messages call the first axis: 0, as in C, unless a language says otherwise. */
MW_EXPORT void mw_axes_count_from(mw_context *ctx, int first);

/* ---- tensors ----------------------------------------------------------------------------- */

/* Leaves. data has mw_spec_bytes(spec) bytes and is copied; NULL gives zeros. */
MW_EXPORT mw_tensor *mw_constant(mw_context *ctx, const mw_spec *spec, const void *data);
MW_EXPORT mw_tensor *mw_parameter(mw_context *ctx, const mw_spec *spec, const void *data,
                                  const char *name);
MW_EXPORT mw_tensor *mw_input(mw_context *ctx, const mw_spec *spec, const char *name);

MW_EXPORT mw_tensor *mw_retain(mw_tensor *t); /* returns t */
MW_EXPORT void mw_release(mw_tensor *t);      /* NULL is fine */

MW_EXPORT mw_context *mw_tensor_context(const mw_tensor *t);
MW_EXPORT const mw_spec *mw_tensor_spec(const mw_tensor *t);
MW_EXPORT const char *mw_tensor_name(const mw_tensor *t); /* a leaf's name, or "" */
MW_EXPORT mw_status mw_tensor_set_name(mw_tensor *t, const char *name);
MW_EXPORT const char *mw_tensor_op(
    const mw_tensor *t); /* "conv2d", "conv2d.backward", "parameter" */
MW_EXPORT bool mw_tensor_is_parameter(const mw_tensor *t);
MW_EXPORT const char *mw_tensor_origin(const mw_tensor *t);            /* "" when unknown */
MW_EXPORT void mw_tensor_set_origin(mw_tensor *t, const char *origin); /* from mw_origin() */
MW_EXPORT const void *mw_tensor_data(const mw_tensor *t); /* NULL until computed; see mw_eval() */

/* The bytes of a leaf, to be written by the caller before anything else uses them (a decoder, a
 * generator). A leaf whose bytes are shared with another tensor gets its own first. NULL on
 * failure or when t is not a leaf. Counts as an update of a parameter. */
MW_EXPORT void *mw_leaf_write(mw_tensor *t);

/* Applies an op. inputs[i] may be NULL where the op declares that input optional, and trailing
 * optional inputs may be left out. The second form is for ops with several outputs: it fills
 * outputs (room for MW_MAX_ARGS) and returns their number, 0 on failure. */
typedef struct mw_setting mw_setting; /* an attribute with its value, below */
MW_EXPORT mw_tensor *mw_apply(mw_context *ctx, const char *op, int n_inputs,
                              mw_tensor *const *inputs, int n_settings, const mw_setting *settings);
MW_EXPORT int mw_apply_all(mw_context *ctx, const char *op, int n_inputs, mw_tensor *const *inputs,
                           int n_settings, const mw_setting *settings, mw_tensor **outputs);

/* Gradients of y in each of x[0 .. n-1], as new tensors in dx. dy weighs y's elements and has y's
 * spec; NULL is allowed for a scalar and means 1. Where y does not depend on x[i], dx[i] is
 * zeros. */
MW_EXPORT mw_status mw_grad(mw_context *ctx, mw_tensor *y, mw_tensor *dy, int n,
                            mw_tensor *const *x, mw_tensor **dx);

/* Whether a gradient of y can reach any of x[0 .. n-1]: false means that mw_grad gives zeros. */
MW_EXPORT mw_status mw_grad_reaches(mw_context *ctx, mw_tensor *y, int n, mw_tensor *const *x,
                                    bool *reaches);

/* A checkpoint: y, a tensor with the same value, whose intermediates a backward pass computes again
 * instead of keeping them. It reaches from y down to what was there when mw_checkpoint_begin() was
 * called, and to all leaves; gradients of those are unchanged, to the bit. All results of what was
 * built since are computed again together. */
MW_EXPORT uint64_t mw_checkpoint_begin(mw_context *ctx);
MW_EXPORT mw_tensor *mw_checkpoint(mw_context *ctx, uint64_t begin, mw_tensor *y);

/* Computes tensors in one program, which is found again by structure the next time. */
MW_EXPORT mw_status mw_eval(mw_context *ctx, int n, mw_tensor *const *tensors);
/* The same, and then gives each parameter targets[i] the value of values[i], all at once. */
MW_EXPORT mw_status mw_update(mw_context *ctx, int n, mw_tensor *const *tensors, int n_updates,
                              mw_tensor *const *targets, mw_tensor *const *values);

/* An update that follows from the structure of what it is made of: a training step, whose gradients
 * and new values are the same graph for each loss of the same network. It is built once, and then
 * found by that structure, so that a step builds its loss and nothing else:
 *
 *     mw_recipe step = {.rule = "sgd", .n = 1, .n_differentiated = 1, .tensors = &loss,
 *                       .n_operands = 3, .operands = (mw_tensor *[]){w, b, rate}};
 *     mw_update_again(ctx, &step, &done);
 *     if (!done) {
 *       ...                                          // gradients, w - rate dw, b - rate db
 *       mw_update_derived(ctx, &step, 2, targets, values);
 *     }
 *
 * The rule's text must tell everything that decides what is built, besides the structure of tensors
 * and operands: numbers that change from step to step are leaves among the operands. */
typedef struct mw_recipe {
  const char *rule;
  int n, n_differentiated;   /* the first of tensors: their graph counts even where it has values */
  mw_tensor *const *tensors; /* to be computed, as by mw_update() */
  int n_operands;            /* all else that the update is made of: parameters, slots, numbers, */
  mw_tensor *const *operands; /* given gradients */
} mw_recipe;
/* Runs the update that was derived from the same structure. done is false where there is none, or
 * where only building it can tell whether it would be the same. */
MW_EXPORT mw_status mw_update_again(mw_context *ctx, const mw_recipe *recipe, bool *done);
/* mw_update(), and remembers it for that structure. What the new values are made of besides the
 * recipe's tensors must be constants, which are kept. Called right after mw_update_again(), between
 * which and this the new values were built. */
MW_EXPORT mw_status mw_update_derived(mw_context *ctx, const mw_recipe *recipe, int n_updates,
                                      mw_tensor *const *targets, mw_tensor *const *values);

/* ---- programs ---------------------------------------------------------------------------- */

/* A program kept by hand: built once, run as often as its inputs change. */
MW_EXPORT mw_program *mw_program_new(mw_context *ctx, int n, mw_tensor *const *tensors,
                                     int n_updates, mw_tensor *const *targets,
                                     mw_tensor *const *values);
MW_EXPORT void mw_program_free(mw_program *program);
/* Runs it on its leaves' values of now. result[i] is a new constant for tensors[i]. */
MW_EXPORT mw_status mw_program_run(mw_program *program, mw_tensor **results);
/* Bytes of intermediates that it needs at once: mw_stats.arena_last, before it runs. */
MW_EXPORT size_t mw_program_memory(const mw_program *program);

typedef struct mw_stats {
  int64_t programs_compiled; /* by this context so far */
  int64_t programs_run;
  int64_t programs_cached; /* held now */
  int64_t nodes_last;      /* steps in the program that ran last */
  size_t arena_last;       /* bytes of intermediates it needed at once */
  size_t arena_unshared;   /* bytes they would need without sharing memory */
  size_t arena_peak;       /* the largest arena_last of any program that ran */
  size_t bytes_live;       /* bytes held by tensors with values, now */
  size_t bytes_peak;
  int64_t tensors_live;
  int64_t
      slices_last; /* in which the program that ran last ran some of its steps; see mw_slicing */
} mw_stats;
MW_EXPORT void mw_context_stats(const mw_context *ctx, mw_stats *stats);
/* The most bytes that tensors and the intermediates of a program held at once since this was last
 * called, or since the context was made. */
MW_EXPORT size_t mw_context_peak(mw_context *ctx);

/* How programs that are compiled from now on cut steps into slices, which run one after the other
 * through several steps while they are in a cache (see MW_ELEMENTWISE and `batched` of mw_op): as
 * pays, never, or as finely as can be, to test what ops declare. Sums over a batch are rounded
 * differently. Returns what was set before; the environment variable MOONWALK_SLICING=never or
 * =always says what is set at first. */
typedef enum mw_slicing { MW_SLICE_AS_PAYS, MW_SLICE_NEVER, MW_SLICE_ALWAYS } mw_slicing;
MW_EXPORT mw_slicing mw_slicing_set(mw_context *ctx, mw_slicing slicing);

/* Whether kernels take denormal numbers (of f32 below 1.2e-38, of f64 below 2.2e-308) for 0, and
 * write 0 in their place, which they do at first: with many processors arithmetic on them takes a
 * hundred times as long. Holds on x86-64 and AArch64, from the next run on; what calls a run, and
 * hooks, have the arithmetic of C as ever. Returns what was set before; the environment variable
 * MOONWALK_DENORMALS=keep or =flush says what is set at first. */
MW_EXPORT bool mw_flush_denormals(mw_context *ctx, bool on);

/* ---- looking into runs ------------------------------------------------------------------- */

/* A function of the program's own, which the op `hooked` calls with the bytes of a value, or of the
 * gradient that arrives there, on the thread that runs the program and in its order. It may change
 * the bytes, and compute other tensors meanwhile. When it fails, so does the run, with
 * `message`. */
#define MW_HOOK_TEXT 512
typedef struct mw_hook {
  mw_status (*call)(void *state, bool gradient, const mw_spec *spec, void *bytes,
                    char message[MW_HOOK_TEXT]);
  void (*drop)(void *state); /* once no tensor needs it any more; NULL: nothing to do */
  void *state;
} mw_hook;
/* A leaf that stands for it: the second input of `hooked`. After a failure drop is not called. */
MW_EXPORT mw_tensor *mw_hook_leaf(mw_context *ctx, const mw_hook *hook);

/* Whether runs look at all values: then a step that makes a NaN or an infinity out of inputs that
 * have none is a failure which says where that was built. Returns what was set before. */
MW_EXPORT bool mw_watch(mw_context *ctx, bool on);

/* What a step of a program takes. FLOPs are what its op says (see mw_op.flops), bytes those of the
 * arrays that it reads and writes, both of one run. The rest is what a profile saw. */
typedef struct mw_cost {
  const char *op;     /* "conv2d", "conv2d.backward" */
  const char *kernel; /* that the program picked */
  const char *origin; /* where it was built; "" when unknown */
  const char *shapes; /* "f32[8,3] f32[4,3] -> f32[8,4]": what it reads and what it writes */
  double flops, bytes;
  uint64_t node;  /* the id of what it computes, see mw_node_of(); 0 where that is not known */
  int program;    /* counted from 0: steps of one program stand together, in its order */
  int64_t runs;   /* of the program */
  int64_t calls;  /* of the kernel: more than runs where a program calls it part by part */
  double seconds; /* of all calls together, on whatever workers */
} mw_cost;

/* One call of a kernel, for a time line. */
typedef struct mw_span {
  int step;              /* in the profile */
  int worker;            /* the thread, from 0: that of the program's caller */
  double begin, seconds; /* since the profile was started */
} mw_span;

typedef struct mw_profile {
  int n_steps;
  const mw_cost *steps;
  int64_t n_spans, n_lost; /* by worker, then by time; n_lost more did not find room */
  const mw_span *spans;
  double seconds; /* from start to stop */
} mw_profile;

/* The steps of the program that would compute these tensors, which are not run. What has its value
 * takes nothing. NULL on failure. */
MW_EXPORT mw_profile *mw_costs(mw_context *ctx, int n, mw_tensor *const *tensors);
/* Between start and stop each run is noted: FLOPs, bytes and time of every step. One at a time. */
MW_EXPORT mw_status mw_profile_start(mw_context *ctx);
MW_EXPORT mw_profile *mw_profile_stop(
    mw_context *ctx); /* NULL when none was started, or on failure */
MW_EXPORT void mw_profile_free(mw_profile *profile);

/* ---- attributes -------------------------------------------------------------------------- */

/* Attribute types, and the C type of the field that holds each. */
typedef enum mw_attr_type {
  MW_INT = 1, /* int64_t */
  MW_FLOAT,   /* double */
  MW_BOOLEAN, /* bool */
  MW_CHOICE,  /* int: the position in `choices` */
  MW_TEXT,    /* char[MW_MAX_TEXT] */
  MW_INTS,    /* mw_ints; one number stands for a list of length one */
  MW_AXIS,    /* int64_t: an axis. Lua counts it from 1, C from 0; negative from the end */
  MW_AXES,    /* mw_ints: axes, or positions along axes, counted likewise */
} mw_attr_type;

#define MW_MAX_INTS 16
#define MW_MAX_TEXT 128
typedef struct mw_ints {
  int64_t count;
  int64_t at[MW_MAX_INTS];
} mw_ints;

/* One attribute of an op. A table of them ends with an entry whose name is NULL. */
typedef struct mw_attr {
  const char *name;
  mw_attr_type type;
  size_t offset; /* of the field in the op's attribute struct */
  const char *doc;
  const char *initial; /* the default as text: "1", "0.1", "true", "mean", "1,1"; NULL: required */
  const char *choices; /* of a MW_CHOICE: "mean|sum|none" */
  double least, most;  /* bounds of a number, and of each in a list; 0, 0 means none */
  const char *lengths; /* allowed lengths of a list: "1|2|4"; NULL means any */
} mw_attr;

/* A row of that table: MW_ATTR(settings, eps, MW_FLOAT, "1e-5", "added to the divisor"), for the
 * field eps of the struct settings; what else it has follows, .least = 0, .most = 1. And in a mw_op
 * the table with the struct's size: MW_ATTRS(settings, row, row). */
#define MW_ATTR(owner, field, kind, text, ...)                                       \
  {                                                                                  \
    .name = #field, .type = kind, .offset = offsetof(owner, field), .initial = text, \
    .doc = __VA_ARGS__                                                               \
  }
#define MW_ATTRS(owner, ...) \
  .attrs = (const mw_attr[]){__VA_ARGS__, {0}}, .attrs_size = sizeof(owner)

struct mw_setting {
  const char *name;
  enum { MW_SET_INT = 1, MW_SET_FLOAT, MW_SET_BOOL, MW_SET_TEXT, MW_SET_INTS } kind;
  union {
    int64_t integer;
    double number;
    bool flag;
    const char *text;
    mw_ints list;
  } value;
};

static inline mw_setting mw_int(const char *name, int64_t value) {
  return (mw_setting){.name = name, .kind = MW_SET_INT, .value.integer = value};
}
static inline mw_setting mw_float(const char *name, double value) {
  return (mw_setting){.name = name, .kind = MW_SET_FLOAT, .value.number = value};
}
static inline mw_setting mw_bool(const char *name, bool value) {
  return (mw_setting){.name = name, .kind = MW_SET_BOOL, .value.flag = value};
}
static inline mw_setting mw_text(const char *name, const char *value) {
  return (mw_setting){.name = name, .kind = MW_SET_TEXT, .value.text = value};
}
static inline mw_setting mw_list(const char *name, int count, const int64_t *values) {
  mw_setting setting = {.name = name, .kind = MW_SET_INTS, .value.list.count = count};
  for (int i = 0; i < count && i < MW_MAX_INTS; i++) setting.value.list.at[i] = values[i];
  return setting;
}

/* ---- registry ---------------------------------------------------------------------------- */

MW_EXPORT const mw_op *mw_op_find(const mw_context *ctx, const char *name); /* NULL when unknown */
MW_EXPORT int mw_op_count(const mw_context *ctx);
MW_EXPORT const mw_op *mw_op_at(const mw_context *ctx, int i); /* in order of name */
/* The registered name nearest to a misspelt one, or NULL when none is near. */
MW_EXPORT const char *mw_op_near(const mw_context *ctx, const char *name);
/* The candidate nearest to a misspelt word, or NULL when none is near, whether letters are large or
 * small; next(state, i) gives candidate i, NULL at the end. Of equally near ones the first. */
MW_EXPORT const char *mw_near(const char *word, const char *(*next)(const void *state, int i),
                              const void *state);
/* Makes programs prefer the kernel of that name for an op; NULL gives the choice back. */
MW_EXPORT mw_status mw_kernel_prefer(mw_context *ctx, const char *op, const char *kernel);
/* Name, dtype, device, priority and origin of each kernel of an op, one a line, best first.
 * Returns a new string for the caller to free(), or NULL. */
MW_EXPORT char *mw_kernel_list(mw_context *ctx, const char *op);

/* How programs that are compiled from now on choose among the kernels of an op that support a call,
 * where mw_kernel_prefer() names none. Kernels differ in how they round, so that results may have
 * other bits with another choice. A table holds what kernels took for a call, told apart by op,
 * version, attributes and shapes, and by processor, instruction level and number of threads. */
typedef enum mw_tune_mode {
  MW_TUNE_OFF,    /* by priority: the same choice everywhere. So it is at first */
  MW_TUNE_PINNED, /* as the table says, whatever machine it is of, else by priority; none is timed
                   */
  MW_TUNE_MEASURE /* as the table says, else each is timed, on memory of its own, and the table
                     keeps it */
} mw_tune_mode;
typedef struct mw_tuning {
  mw_tune_mode mode;
  const char *file; /* the table is read from there, and written when it grows; NULL: no file */
  double budget;    /* seconds that timing may take in all from now on; 0: no limit */
} mw_tuning;
/* Fails, and changes nothing, when a file that is to be pinned cannot be read. Otherwise a file that
 * is no such table is left alone, lines that make no sense are ignored, and mw_tune_note() says so;
 * it is "" when there is nothing to say. */
MW_EXPORT mw_status mw_tune(mw_context *ctx, const mw_tuning *tuning);
MW_EXPORT const char *mw_tune_note(const mw_context *ctx);
/* The table: a line for each call, as in the file: the call, the machine, and each kernel as
 * "name@origin@version=nanoseconds", the fastest first, with tabs between them; a space and some
 * others are written as "%20". Returns a new string for the caller to free(), or NULL. */
MW_EXPORT char *mw_tune_table(mw_context *ctx);

/* ---- looking at a graph ------------------------------------------------------------------ */

typedef enum mw_node_kind {
  MW_CONSTANT,
  MW_PARAMETER,
  MW_INPUT,
  MW_FORWARD, /* an op */
  MW_BACKWARD /* an op's backward: gradients of its inputs */
} mw_node_kind;

/* The node that a tensor is an output of, which mw_tensor_op(), _name() and _origin() tell of, too.
 * What is pointed to is the graph's, and good until something is run or an op is replaced. */
typedef struct mw_node_info {
  uint64_t id; /* of the node: the same for all its outputs, greater than those of its inputs */
  mw_node_kind kind;
  const mw_op *op;   /* NULL of a leaf */
  const void *attrs; /* the op's attribute struct, as infer left it */
  int n_in, n_out;
  int output; /* which one the tensor is; n_out: the bytes that forward saves for backward, which
                 are never to be asked for */
} mw_node_info;
MW_EXPORT mw_node_info mw_node_of(const mw_tensor *t);

/* Input i, or output j, of t's node, which the caller does not own; NULL: there is none. A backward
 * has only the gradients that are wanted, and of the values that forward had only what it reads. */
MW_EXPORT mw_tensor *mw_node_input(const mw_tensor *t, int i);
MW_EXPORT mw_tensor *mw_node_output(const mw_tensor *t, int j);
/* Of a backward, the first output of the node that it is the backward of; otherwise NULL. */
MW_EXPORT mw_tensor *mw_node_forward_of(const mw_tensor *t);

/* What messages call them: "x", "x[2]" of several, "the gradient of y". Returns text. */
#define MW_NAME_TEXT 128
MW_EXPORT const char *mw_node_input_name(const mw_tensor *t, int i, char text[MW_NAME_TEXT]);
MW_EXPORT const char *mw_node_output_name(const mw_tensor *t, int j, char text[MW_NAME_TEXT]);

/* Whether the node's attribute is another than by default. */
MW_EXPORT bool mw_node_attr_changed(const mw_tensor *t, const mw_attr *attr);
/* "stride 2, padding {1,0}": these, or all of them; axes as mw_axes_count_from() says. Returns a new
 * string for the caller to free(), or NULL. */
MW_EXPORT char *mw_node_attrs_text(const mw_tensor *t, bool all);

/* Copies of tensors with all that they are made of, down to the leaves, and without their values: to
 * be computed once more, for the time that it takes. What is stale is not so in the copy. */
MW_EXPORT mw_status mw_uncomputed(mw_context *ctx, int n, mw_tensor *const *tensors,
                                  mw_tensor **copies);

/* While failures are kept, the context remembers the node of the last one: of an op that refused its
 * inputs, of a step whose kernel failed or made the first NaN (see mw_watch), of a value that is
 * stale, of a gradient that cannot be built. It is held until it is forgotten. */
typedef struct mw_failure {
  mw_tensor *at;       /* its first output; of dtype MW_NONE, and only to be looked at, where the op
                          refused */
  bool of_gradient;    /* its gradient could not be built */
  const char *message; /* what mw_error() said */
} mw_failure;
MW_EXPORT bool mw_failures_keep(mw_context *ctx, bool on);          /* what was set before */
MW_EXPORT const mw_failure *mw_failure_last(const mw_context *ctx); /* NULL: none, or no node's */
MW_EXPORT void mw_failure_forget(mw_context *ctx);

/* ==========================================================================================
 * For the author of an op
 * ========================================================================================== */

typedef struct mw_host mw_host;
typedef struct mw_plugin mw_plugin; /* the library that is registering */

/* A tensor's bytes as a kernel sees them. */
typedef struct mw_array {
  void *data; /* 64-byte aligned, or as an element where steps run in slices (`batched` of mw_op);
                    NULL where the tensor is absent or not wanted */
  int64_t count; /* number of elements */
  mw_spec spec;
} mw_array;

/* Has look() called after each step of a run, with the n arrays that it has written, until look is
 * NULL: steps are computed as always, but one after the other. A step that runs in slices is told
 * of once for each of them. op is "conv2d" or "conv2d.backward", origin as mw_tensor_origin() gives
 * it; run counts runs, and step is the step's number in that one. */
typedef void (*mw_look)(void *state, const char *op, const char *origin, int64_t run, int step,
                        int n, const mw_array *written);
MW_EXPORT void mw_observe(mw_context *ctx, mw_look look, void *state);

/* What infer reads and fills. infer and gradient serve every element type, whichever they were
 * compiled for: they go by the specs' dtypes (and mw_element_size()) and never by `real`. */
typedef struct mw_infer {
  const mw_host *host;
  mw_context *context;
  const mw_op *op;
  void *attrs; /* checked against the schema; infer may bring them into a standard form */
  int n_in, n_out;
  const mw_spec *in; /* dtype MW_NONE where an optional input is absent */
  mw_spec *out;      /* to fill: dtype, rank, shape of each output */
  size_t saved;      /* to fill: bytes that forward keeps for backward */
} mw_infer;

/* Memory that a kernel wants, besides its inputs and outputs. Its contents are undefined. */
typedef struct mw_workspace {
  size_t call;   /* bytes for the call: call->scratch */
  size_t worker; /* bytes for each worker of a parallel loop: mw_worker_scratch() */
} mw_workspace;

/* One call of a kernel. In forward, out[] is written. In backward, din[i] is written (not added
 * to) wherever din[i].data is set; dout[j].data is NULL where no gradient arrives, which means
 * zeros; in[i].data and out[j].data are set only as declared in backward_needs. */
typedef struct mw_call {
  const mw_host *host;
  mw_context *context;
  const mw_op *op;
  const void *attrs;
  bool backward;
  int n_in, n_out;
  const mw_array *in, *out;
  const mw_array *dout, *din; /* backward only */
  void *saved; /* what infer asked for. In forward NULL when nobody will differentiate this call */
  void *scratch;
  char *worker_scratch;
  size_t worker_stride;
} mw_call;

/* What compose and gradient read and fill. Tensors that they make with mw_make() or mw_formula()
 * need no release. */
typedef struct mw_build {
  const mw_host *host;
  mw_context *context;
  const mw_op *op;
  const void *attrs;
  int n_in, n_out;
  mw_tensor *const *in;   /* NULL where an optional input is absent */
  mw_tensor **out;        /* compose fills it; gradient reads it */
  mw_tensor *const *dout; /* gradient: NULL where no gradient arrives */
  const bool *wanted;     /* gradient: which of din[] to fill */
  mw_tensor **din;        /* gradient: to fill; NULL means zeros */
  void *pool;             /* the host's */
} mw_build;

/* A declared input or output. */
typedef struct mw_arg {
  const char *name;
  unsigned flags; /* MW_OPTIONAL, MW_VARIADIC, MW_KEY */
  const char *doc;
} mw_arg;
#define MW_OPTIONAL 1u
#define MW_VARIADIC 2u /* the last input: one or more tensors */
#define MW_KEY 4u /* a random key, see mw_random_key(): where it is absent the host draws one */

/* What backward reads, for backward_needs. A variadic input is named by its first position. */
#define MW_NEEDS_IN(i) (1u << (i))
#define MW_NEEDS_OUT(i) (1u << (8 + (i)))
#define MW_NEEDS_SAVED (1u << 16)

/* Flags of an op. */
#define MW_ANY_DTYPE 1u /* one kernel serves every dtype (it moves bytes) */
#define MW_VIEW 2u      /* out[0] is in[0]'s bytes under another shape: no kernel at all */
#define MW_ADDS 4u      /* the sum of its inputs: the host adds gradients that meet with it */
#define MW_IMPURE 8u    /* two equal calls may differ: never merged */
/* out[0] may be written over in[0] or in[1] of the same spec, also when both are one tensor; never
 * over what a later input reads too. If the op is elementwise and has one input and one output, its
 * gradient may be written over the output's. */
#define MW_INPLACE 16u
/* Linear in its float inputs taken together. With a backward kernel such an op has derivatives of
 * every order: the derivative of backward is forward. */
#define MW_LINEAR 32u
/* A view of in[0] that is there once the other inputs are, of any number and dtype: the host gives
 * steps an order with it. */
#define MW_ORDERS 64u
/* Its compose or gradient may build other ops at another time, with the same attributes on the same
 * specs: those of all other ops are functions of these alone. */
#define MW_VARIES 128u
/* Each element of an output depends on those at its place in the inputs alone, which broadcast by
 * numpy's rule; and so do gradients, which are sums where an input was repeated. Then steps may be
 * cut anywhere; so not for a kernel that tells in a message where in its input something is. */
#define MW_ELEMENTWISE 256u
/* Its kernels never fail. At the end of a run, where only such ops are left, new values of parameters
 * may be written over the old ones: nothing comes in between and leaves some of each. */
#define MW_SURE 512u
/* y = f(x) element by element, of one input, rises: f(a) <= f(b) where a <= b, and f(NaN) is NaN. Where
 * f(a) = f(b) though a < b, its derivative is 0 at both. A maximum may then be taken before it. */
#define MW_RISING 1024u
/* Each element of out[0] is the largest of some of in[0], the first of equal ones, or the first NaN.
 * Backward reads nothing but what was saved. A function that rises may then come after it. */
#define MW_PICKS 2048u
/* out[j] may be written over in[j] of the same spec, one of them or several at once; never over what
 * another input reads too. So all that is read of an element is read before any of it is written. */
#define MW_INPLACE_EACH 4096u

struct mw_op {
  const char *name;    /* the field's term, [a-z][a-z0-9_]* */
  int version;         /* grows when results change */
  const char *doc;     /* one sentence; then formula and shapes */
  const char *example; /* a Lua expression that runs, and from which the gradient is checked */
  mw_arg inputs[MW_MAX_ARGS];
  mw_arg outputs[MW_MAX_ARGS];
  const mw_attr *attrs; /* NULL when there are none */
  size_t attrs_size;    /* of the struct that they describe */
  unsigned flags;
  unsigned backward_needs;
  int dtype_of; /* the input whose dtype picks the kernel */

  mw_status (*infer)(mw_infer *it);
  mw_status (*forward)(const mw_call *call);
  mw_status (*backward)(const mw_call *call); /* NULL: no kernel; see gradient */
  mw_status (*gradient)(mw_build *g);         /* NULL: cannot be differentiated twice */
  void (*workspace)(const mw_call *call, mw_workspace *need); /* NULL: none. data is not set yet */

  /* A composition stands for other ops and has neither kernel nor derivative of its own: it gives
   * compose, which fills out[], or a formula for its only output. Its infer may check and is
   * optional; the outputs' specs come from the ops that it is made of. */
  mw_status (*compose)(mw_build *b);
  const char *formula;
  /* The gradient in each input as a formula, "dy * cos(x)", instead of `gradient`. */
  const char *derivative[MW_MAX_ARGS];
  const char *sign;  /* the operator that it is in formulas: "+", "<=", "&&", "?" of three, ... */
  const char *cases; /* further examples, one a line; with `example` they are what tests check */
  const void *data;  /* the op's own: its functions find it at call->op->data */

  /* The floating-point operations of a call, a multiply-add counting as two: what its definition
   * takes, however a kernel does it. It looks at specs and attributes alone, and in backward at
   * which din[i].data is set; no array has its bytes. NULL: one for each element of the largest
   * array of the call, as elementwise functions and reductions have it, and none for an op of
   * MW_ANY_DTYPE, which moves bytes. */
  double (*flops)(const mw_call *call);
  /* Inputs whose axis 0 is a batch, if they have further axes: MW_IN(0) | MW_IN(1). Entry k of each
   * output then depends on entry k of these and on the other inputs as a whole; backward likewise,
   * in which the gradients of the other inputs are sums over the batch. Saved bytes are equal parts,
   * one for each entry. Steps with such ops may be cut into slices of the batch, each a call. */
  unsigned batched;
};
#define MW_IN(i) (1u << (i))

/* Another kernel for an op that exists. Programs take the first that supports the call, by
 * falling priority; the op's own kernel has priority 0 and the name "plain". The op's attributes
 * are as its infer left them; call->op->attrs tells a kernel of another file where they lie. */
typedef struct mw_kernel {
  const char *op, *name;
  const char *device; /* where its data lies; NULL or "cpu", the only one so far */
  int priority;
  bool (*supports)(const mw_call *call);     /* NULL: every call. data is not set yet */
  mw_status (*forward)(const mw_call *call); /* NULL: not for this direction */
  mw_status (*backward)(const mw_call *call);
  void (*workspace)(const mw_call *call, mw_workspace *need);
} mw_kernel;

/* A matrix product of row-major matrices: c[m,n] = op(a)[m,k] op(b)[k,n], or c += with
 * `accumulate`. op() transposes where asked: then a is stored as [k,m], b as [n,k].
 * lda, ldb, ldc are the distances between rows as stored, in elements. */
typedef struct mw_gemm {
  int64_t m, n, k;
  const void *a, *b;
  void *c;
  int64_t lda, ldb, ldc;
  bool transpose_a, transpose_b, accumulate;
} mw_gemm;
#define MW_ALL_WORKERS (-1)

typedef void (*mw_chunk)(void *arg, int64_t chunk, int worker);

/* What the host offers. Grown only by appending; abi and size stay first for ever. */
struct mw_host {
  uint32_t abi;
  uint32_t size;       /* sizeof(mw_host) in the host */
  const char *version; /* MW_VERSION of the host */
  /* What a plugin was built against; a newer ABI than the host's is refused. Called first. */
  mw_status (*accept)(mw_plugin *plugin, uint32_t abi, const char *version);
  mw_status (*register_op)(mw_plugin *plugin, const mw_op *op, size_t op_size, mw_dtype real);
  mw_status (*register_kernel)(mw_plugin *plugin, const mw_kernel *kernel, size_t kernel_size,
                               mw_dtype real);
  /* Sets the message, always returns MW_FAILED. The host puts the op's name in front. */
  mw_status (*fail)(mw_context *ctx, const char *format, ...) MW_PRINTF(2, 3);
  const char *(*spec_text)(const mw_spec *spec, char text[MW_SPEC_TEXT]);
  void (*parallel)(mw_context *ctx, int64_t chunks, mw_chunk run, void *arg);
  void (*gemm)(mw_context *ctx, mw_dtype dtype, const mw_gemm *product, int worker);
  mw_tensor *(*make)(mw_build *g, const char *op, int n_inputs, mw_tensor *const *inputs,
                     int n_settings, const mw_setting *settings);
  mw_tensor *(*make_constant)(mw_build *g, const mw_spec *spec, double value);
  const mw_spec *(*tensor_spec)(const mw_tensor *t);
  /* Random words of the generator keyed by (seed, position); counter picks four words. */
  void (*random)(uint64_t seed, uint64_t counter, uint32_t words[4]);
  mw_tensor *(*formula)(mw_build *b, const char *text); /* see mw_formula() */
  mw_tensor *(*keep)(mw_build *b, mw_tensor *t);        /* see mw_build_keep() */
  /* See mw_expect_axis(). */
  mw_status (*expect_axis)(const mw_infer *it, const char *name, int64_t *axis, int rank);
  /* Calls the hook whose leaf has these bytes; see mw_hook_leaf(). */
  mw_status (*hook)(mw_context *ctx, const mw_array *leaf, bool gradient, const mw_array *value);
  /* For a kernel that calls a library with threads of its own: how many it may use, 1 in a chunk of
   * a parallel loop. */
  int (*threads)(const mw_context *ctx);
};

/* The element type that this file is being compiled for. The build compiles an op's file once
 * for f32 and once for f64, or for the types in its line "real: f32 f64 i32 i64 u8"; a kernel
 * is written once over `real`. */
#ifndef MW_NO_REAL
#if defined MW_REAL_F64
typedef double real;
#define MW_REAL MW_F64
#elif defined MW_REAL_I32
typedef int32_t real;
#define MW_REAL MW_I32
#elif defined MW_REAL_I64
typedef int64_t real;
#define MW_REAL MW_I64
#elif defined MW_REAL_U8
typedef uint8_t real; /* serves bool too: one byte, 0 or 1 */
#define MW_REAL MW_U8
#else
typedef float real;
#define MW_REAL MW_F32
#endif
#endif

/* Ends an op's file: MW_PLUGIN(&maxpool) or MW_PLUGIN(&add, &sub). Built alone the file is a
 * plugin whose one exported symbol is moonwalk_plugin, of the compilation for f32; that calls on
 * the compilations for other types that it was linked with. */
typedef mw_status (*mw_plugin_entry)(const mw_host *host, mw_plugin *plugin);
#define MW_PLUGIN_SYMBOL "moonwalk_plugin"
#define MW_ENTRY_VISIBILITY "hidden"
#ifndef MW_ENTRY
#if defined MW_REAL_F64
#define MW_ENTRY moonwalk_plugin_f64
#elif defined MW_REAL_I32
#define MW_ENTRY moonwalk_plugin_i32
#elif defined MW_REAL_I64
#define MW_ENTRY moonwalk_plugin_i64
#elif defined MW_REAL_U8
#define MW_ENTRY moonwalk_plugin_u8
#else
#define MW_ENTRY moonwalk_plugin
#define MW_ENTRY_FIRST
#undef MW_ENTRY_VISIBILITY
#define MW_ENTRY_VISIBILITY "default"
#endif
#endif
#ifdef MW_ENTRY_FIRST
#define MW_PART __attribute__((weak, visibility("hidden"))) /* NULL when it was not linked */
MW_PART mw_status moonwalk_plugin_f64(const mw_host *host, mw_plugin *plugin);
MW_PART mw_status moonwalk_plugin_i32(const mw_host *host, mw_plugin *plugin);
MW_PART mw_status moonwalk_plugin_i64(const mw_host *host, mw_plugin *plugin);
MW_PART mw_status moonwalk_plugin_u8(const mw_host *host, mw_plugin *plugin);
static inline mw_status mw_enter_parts(const mw_host *host, mw_plugin *plugin) {
  if (moonwalk_plugin_f64 && moonwalk_plugin_f64(host, plugin)) return MW_FAILED;
  if (moonwalk_plugin_i32 && moonwalk_plugin_i32(host, plugin)) return MW_FAILED;
  if (moonwalk_plugin_i64 && moonwalk_plugin_i64(host, plugin)) return MW_FAILED;
  if (moonwalk_plugin_u8 && moonwalk_plugin_u8(host, plugin)) return MW_FAILED;
  return MW_OK;
}
#else
#define mw_enter_parts(host, plugin) MW_OK
#endif

#define MW_PLUGIN(...) MW_PLUGIN_WITH_KERNELS((__VA_ARGS__), (NULL))
/* The same with further kernels: MW_PLUGIN_WITH_KERNELS((&conv2d), (&conv2d_gemm)). A file that
 * has kernels and no op says MW_PLUGIN_WITH_KERNELS((NULL), (&conv2d_fast)). */
#define MW_PLUGIN_WITH_KERNELS(op_list, kernel_list)                                 \
  mw_status MW_ENTRY(const mw_host *host, mw_plugin *plugin)                         \
      __attribute__((visibility(MW_ENTRY_VISIBILITY)));                              \
  mw_status MW_ENTRY(const mw_host *host, mw_plugin *plugin) {                       \
    static const mw_op *const mw_ops[] = {MW_UNWRAP op_list};                        \
    static const mw_kernel *const mw_kernels[] = {MW_UNWRAP kernel_list};            \
    if (host->accept(plugin, MW_ABI, MW_VERSION)) return MW_FAILED;                  \
    for (size_t i = 0; i < sizeof mw_ops / sizeof *mw_ops; i++)                      \
      if (mw_ops[i] && host->register_op(plugin, mw_ops[i], sizeof(mw_op), MW_REAL)) \
        return MW_FAILED;                                                            \
    for (size_t i = 0; i < sizeof mw_kernels / sizeof *mw_kernels; i++)              \
      if (mw_kernels[i] &&                                                           \
          host->register_kernel(plugin, mw_kernels[i], sizeof(mw_kernel), MW_REAL))  \
        return MW_FAILED;                                                            \
    return mw_enter_parts(host, plugin);                                             \
  }
#define MW_UNWRAP(...) __VA_ARGS__

/* ---- helpers for ops: thin inline forms of what the host offers -------------------------- */

/* return mw_fail(it, "stride is %d", n); works on a mw_infer, a mw_call and a mw_build. */
#define mw_fail(scope, ...) ((scope)->host->fail((scope)->context, __VA_ARGS__))

#define MW_MAX_SIDE ((int64_t)1 << 28)
static inline mw_status mw_expect_rank(const mw_infer *it, int input, int rank) {
  char text[MW_SPEC_TEXT];
  if (it->in[input].rank == rank) return MW_OK;
  return mw_fail(it, "%s is %s, expected rank %d", it->op->inputs[input].name,
                 it->host->spec_text(&it->in[input], text), rank);
}
/* An NCHW batch of images, with sides whose area can be counted. */
static inline mw_status mw_expect_images(const mw_infer *it, int input) {
  const mw_spec *x = &it->in[input];
  const char *name = it->op->inputs[input].name;
  const long long c = (long long)x->shape[0], h = (long long)x->shape[1],
                  w = (long long)x->shape[2];
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (x->rank == 3)
    return mw_fail(it,
                   "%s is %s, expected rank 4 [batch, channels, height, width]: "
                   "%s:reshape{1, %lld, %lld, %lld} makes it a batch of one",
                   name, text, name, c, h, w);
  if (x->rank != 4)
    return mw_fail(it, "%s is %s, expected rank 4 [batch, channels, height, width]", name, text);
  if (x->shape[2] > MW_MAX_SIDE || x->shape[3] > MW_MAX_SIDE)
    return mw_fail(it, "%s is %s, expected images of at most 2^28 a side", name, text);
  return MW_OK;
}
static inline bool mw_is_float(mw_dtype dtype) { return dtype == MW_F32 || dtype == MW_F64; }
/* For compositions, which have no kernels whose dtypes the host would look at. */
static inline mw_status mw_expect_float(const mw_infer *it, int input) {
  char text[MW_SPEC_TEXT];
  if (mw_is_float(it->in[input].dtype)) return MW_OK;
  return mw_fail(it, "%s is %s, expected f32 or f64; use :cast", it->op->inputs[input].name,
                 it->host->spec_text(&it->in[input], text));
}
static inline mw_status mw_expect_same_dtype(const mw_infer *it, int input, int other) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  if (it->in[input].dtype == it->in[other].dtype) return MW_OK;
  return mw_fail(it, "%s is %s, but %s is %s: the dtypes must agree; use :cast",
                 it->op->inputs[input].name, it->host->spec_text(&it->in[input], a),
                 it->op->inputs[other].name, it->host->spec_text(&it->in[other], b));
}
/* The key of a random op, see MW_KEY; what comes instead is mostly an attribute. */
static inline mw_status mw_expect_key(const mw_infer *it, int input) {
  const mw_spec *key = &it->in[input];
  const char *attribute = it->op->attrs ? it->op->attrs[0].name : "name";
  char text[MW_SPEC_TEXT];
  if (key->dtype == MW_I64 && key->rank == 1 && key->shape[0] == 2) return MW_OK;
  return mw_fail(it,
                 "%s is %s, expected i64[2], a seed and a position; attributes go into a table: "
                 "{%s = ..}",
                 it->op->inputs[input].name, it->host->spec_text(key, text), attribute);
}
/* Brings an axis that may count from the end into 0 .. rank-1; rank is that of the axes that may be
 * meant: the first input's, or what infer makes of it. Otherwise fails with a message such as
 * "axis 5 is out of range for x f32[2,3]: expected 1 to 2, or -1 to -2 from the end". */
static inline mw_status mw_expect_axis(const mw_infer *it, const char *name, int64_t *axis,
                                       int rank) {
  return it->host->expect_axis(it, name, axis, rank);
}
/* The same for a list of axes, of which none may be named twice; `name` is the attribute's. */
static inline mw_status mw_expect_axes(const mw_infer *it, const char *name, mw_ints *axes,
                                       int rank) {
  unsigned seen = 0;
  for (int64_t i = 0; i < axes->count; i++) {
    if (mw_expect_axis(it, "axis", &axes->at[i], rank)) return MW_FAILED;
    if (seen >> axes->at[i] & 1u)
      return mw_fail(it, "%s: entry %d names an axis a second time", name, (int)i + 1);
    seen |= 1u << axes->at[i];
  }
  return MW_OK;
}
/* Axes as bits, bit k for axis k, and bits as a list of axes, which rises. */
static inline unsigned mw_axes_bits(const mw_ints *axes) {
  unsigned bits = 0;
  for (int64_t i = 0; i < axes->count; i++) bits |= 1u << axes->at[i];
  return bits;
}
static inline mw_ints mw_axes_of(unsigned bits) {
  mw_ints axes = {.count = 0};
  for (int k = 0; k < MW_MAX_RANK; k++)
    if (bits >> k & 1u) axes.at[axes.count++] = k;
  return axes;
}
/* The axes that a reduction goes over, in standard form: all where none is named, rising. */
static inline mw_status mw_expect_reduced_axes(const mw_infer *it, mw_ints *axes) {
  const int rank = it->in[0].rank;
  if (mw_expect_axes(it, "axes", axes, rank)) return MW_FAILED;
  *axes = mw_axes_of(axes->count > 0 ? mw_axes_bits(axes) : (1u << rank) - 1);
  return MW_OK;
}

/* Bytes of one element; an op cannot call mw_dtype_size(), which is the library's. */
static inline size_t mw_element_size(mw_dtype dtype) {
  return dtype == MW_F64 || dtype == MW_I64 ? 8 : dtype == MW_F32 || dtype == MW_I32 ? 4 : 1;
}
/* An infer: each output has the first input's dtype and shape. */
static inline mw_status mw_infer_like(mw_infer *it) {
  for (int j = 0; j < it->n_out; j++) it->out[j] = it->in[0];
  return MW_OK;
}
static inline bool mw_present(const mw_spec *spec) { return spec->dtype != MW_NONE; }

/* Whatever the dtypes are. */
static inline bool mw_same_shape(const mw_spec *a, const mw_spec *b) {
  bool same = a->rank == b->rank;
  for (int k = 0; same && k < a->rank; k++) same = a->shape[k] == b->shape[k];
  return same;
}
/* The size of the k-th axis from the end, from 1 on; 1 where there are not so many. */
static inline int64_t mw_size_from_end(const mw_spec *x, int k) {
  return k <= x->rank ? x->shape[x->rank - k] : 1;
}
/* The shape to which a and b broadcast by numpy's rule, with a's dtype; false where two sizes are
 * neither equal nor 1. y may be a or b. */
static inline bool mw_broadcast(const mw_spec *a, const mw_spec *b, mw_spec *y) {
  mw_spec both = {.dtype = a->dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
  for (int k = 1; k <= both.rank; k++) {
    const int64_t m = mw_size_from_end(a, k), n = mw_size_from_end(b, k);
    if (m != n && m != 1 && n != 1) return false;
    both.shape[both.rank - k] = m == 1 ? n : m;
  }
  *y = both;
  return true;
}
/* Whether x can be repeated, along axes of size 1 and in front, to have y's shape. */
static inline bool mw_broadcasts_to(const mw_spec *x, const mw_spec *y) {
  mw_spec both;
  return mw_broadcast(x, y, &both) && mw_same_shape(&both, y);
}

/* The i-th of a list in which one number stands for all. */
static inline int64_t mw_ints_at(const mw_ints *list, int i) {
  return list->count == 1 ? list->at[0] : list->at[i];
}
/* Brings such a list to n numbers. */
static inline void mw_ints_fill(mw_ints *list, int n) {
  for (int i = 1; i < n; i++) list->at[i] = mw_ints_at(list, i);
  list->count = n;
}
/* The same for what stands on both sides of n axes, such as padding: a number for all, or one for
 * each axis, or those before the axes and then those after them: {top, left, bottom, right}. */
static inline void mw_ints_fill_sides(mw_ints *list, int n) {
  if (list->count == 2 * n) return;
  mw_ints_fill(list, n);
  for (int i = 0; i < n; i++) list->at[n + i] = list->at[i];
  list->count = 2 * n;
}

/* A way through some axes of an array, innermost first, with its step along each, in elements: 0
 * where it is repeated. Axes that go on evenly are one. */
typedef struct mw_walk {
  int rank;
  int64_t size[MW_MAX_RANK], step[MW_MAX_RANK];
} mw_walk;
/* Adds the next axis outward. */
static inline void mw_walk_add(mw_walk *w, int64_t size, int64_t step) {
  const int last = w->rank - 1;
  if (w->rank > 0 && step == w->step[last] * w->size[last]) {
    w->size[last] *= size;
  } else {
    w->size[w->rank] = size;
    w->step[w->rank++] = step;
  }
}
/* Takes the innermost axis out, and returns its size; 1 where there is none. */
static inline int64_t mw_walk_inner(mw_walk *w) {
  const int64_t size = w->rank > 0 ? w->size[0] : 1;
  for (int k = 1; k < w->rank; k++) {
    w->size[k - 1] = w->size[k];
    w->step[k - 1] = w->step[k];
  }
  if (w->rank > 0) w->rank--;
  return size;
}
static inline int64_t mw_walk_count(const mw_walk *w) {
  int64_t count = 1;
  for (int k = 0; k < w->rank; k++) count *= w->size[k];
  return count;
}
/* Where position i, in row-major order, lies in the array. */
static inline int64_t mw_walk_at(const mw_walk *w, int64_t i) {
  int64_t offset = 0;
  for (int k = 0; k < w->rank - 1; k++) {
    offset += i % w->size[k] * w->step[k];
    i /= w->size[k];
  }
  return w->rank > 0 ? offset + i * w->step[w->rank - 1] : 0;
}

/* Work cut by shape, never by thread: run(arg, chunk, worker) for chunk = 0 .. chunks-1. Two
 * chunks never write the same byte; worker picks scratch and nothing else. */
static inline void mw_parallel(const mw_call *call, int64_t chunks, mw_chunk run, void *arg) {
  call->host->parallel(call->context, chunks, run, arg);
}
static inline int64_t mw_chunks(int64_t n, int64_t grain) { return (n + grain - 1) / grain; }
static inline int64_t mw_chunk_end(int64_t n, int64_t grain, int64_t chunk) {
  return (chunk + 1) * grain < n ? (chunk + 1) * grain : n;
}
static inline void *mw_worker_scratch(const mw_call *call, int worker) {
  return call->worker_scratch + (size_t)worker * call->worker_stride;
}

/* Inside a chunk give the chunk's worker; outside, MW_ALL_WORKERS splits the product itself. */
static inline void mw_product(const mw_call *call, mw_dtype dtype, const mw_gemm *product,
                              int worker) {
  call->host->gemm(call->context, dtype, product, worker);
}

/* Builds a node inside compose or gradient. NULL after a failure, and NULL in gives NULL out, so
 * that the results need no checking one by one. */
static inline mw_tensor *mw_make(mw_build *g, const char *op, int n_inputs,
                                 mw_tensor *const *inputs, int n_settings,
                                 const mw_setting *settings) {
  return g->host->make(g, op, n_inputs, inputs, n_settings, settings);
}
static inline mw_tensor *mw_make1(mw_build *g, const char *op, mw_tensor *x) {
  return mw_make(g, op, 1, &x, 0, NULL);
}
static inline mw_tensor *mw_make2(mw_build *g, const char *op, mw_tensor *a, mw_tensor *b) {
  return mw_make(g, op, 2, (mw_tensor *[]){a, b}, 0, NULL);
}
/* By an op whose one attribute is a shape: "reshape", "expand" or "sum_to". */
static inline mw_tensor *mw_make_shaped(mw_build *g, const char *op, mw_tensor *t, int rank,
                                        const int64_t *shape) {
  const mw_setting setting = mw_list("shape", rank, shape);
  return mw_make(g, op, 1, &t, 1, &setting);
}
/* The same, with the shape of another tensor. */
static inline mw_tensor *mw_make_like(mw_build *g, const char *op, mw_tensor *t,
                                      const mw_tensor *like) {
  if (!like) return NULL;
  const mw_spec *spec = g->host->tensor_spec(like);
  return mw_make_shaped(g, op, t, spec->rank, spec->shape);
}
/* A scalar constant of t's dtype, for arithmetic with t. */
static inline mw_tensor *mw_make_scalar(mw_build *g, const mw_tensor *t, double value) {
  mw_spec spec = {.dtype = g->host->tensor_spec(t)->dtype, .rank = 0, .shape = {0}};
  return g->host->make_constant(g, &spec, value);
}
/* A tensor by a formula: "x * sigmoid(x)", "dy * (x > 0 ? 1 : slope)", "sum(x, axes=axes)".
 *
 * Names are the op's inputs and outputs, the gradients of its outputs ("dy" for an output "y"), and
 * its attributes, which count as numbers. Functions are ops, whose attributes follow as
 * name=number, name=true, name='text', or name=attribute of this op. Operators are those of C, with
 * C's precedence: ?: && || comparisons + - * / and the minus sign; a cast "(real)" is skipped, so
 * that the same text may be compiled. A number has the dtype of the tensors beside it, or of the
 * op's first float input. NULL, without an error, when the formula comes to the number 0, which in
 * a gradient means zeros. */
static inline mw_tensor *mw_formula(mw_build *b, const char *text) {
  return b->host->formula(b, text);
}

/* Hands a reference that compose or gradient owns over to the build; returns t. NULL counts as a
 * failure, whose message is there already. */
static inline mw_tensor *mw_build_keep(mw_build *b, mw_tensor *t) { return b->host->keep(b, t); }

#endif
