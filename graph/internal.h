/* internal.h: what the files of graph/ share, and the few entries that the build's generated
 * table and the plugin loader use. Nothing outside graph/ and plugins/ includes it. */
#ifndef MW_INTERNAL_H
#define MW_INTERNAL_H

#include <signal.h>
#include <stdlib.h>

#define MW_NO_REAL
#include "arena.h"
#include "gemm.h"
#include "moonwalk.h"
#include "parallel.h"
#include "philox.h"
#include "pool.h"
#include "table.h"

/* ---- storage: counted bytes. Shared storage is never written; see mw_leaf_write. ---------- */

typedef struct mw_storage {
  int refs;
  size_t bytes;
  mw_context *ctx;
  void *data;                                /* 64-byte aligned, in the same block */
  void (*drop)(const struct mw_storage *it); /* called before it is freed; NULL: nothing to do */
} mw_storage;

mw_storage *mw_storage_new(mw_context *ctx, size_t bytes); /* undefined contents; NULL: no memory */
mw_storage *mw_storage_retain(mw_storage *storage);
void mw_storage_release(mw_storage *storage);
#define MW_ALIGN 64
static inline size_t mw_aligned(size_t bytes) {
  return (bytes + MW_ALIGN - 1) / MW_ALIGN * MW_ALIGN;
}

/* memory.c: whether the system has so many bytes. The error where it has not: for which op, or NULL,
 * and for which value, or NULL. */
bool mw_memory_has(size_t bytes);
mw_status mw_memory_lacks(mw_context *ctx, size_t bytes, const char *op, const mw_spec *spec);

/* ---- blocks: of nodes and small values, which come and go all the time. block.c keeps some. -- */

typedef struct mw_blocks {
  struct mw_kept_block *kept[64]; /* by size */
  size_t bytes;                   /* of all that are kept */
} mw_blocks;
/* Undefined contents, aligned to MW_ALIGN; NULL when memory is short. Freed with the same size. */
void *mw_block_new(mw_blocks *blocks, size_t bytes);
void mw_block_free(mw_blocks *blocks, void *block, size_t bytes);
void mw_blocks_clear(mw_blocks *blocks);

/* ---- registry ----------------------------------------------------------------------------- */

typedef struct mw_kernel_entry {
  mw_kernel kernel;
  mw_dtype dtype; /* MW_NONE serves every dtype */
  mw_plugin *plugin;
  const char *file; /* as of an op */
  bool aside;       /* made for the shipped op, in whose place another is: taken by name alone */
} mw_kernel_entry;

enum { MW_KNOWN_PLACES = 16 };

/* An op as a node, a step or the registry has it: never changed once it is in the registry. What
 * replaces the op or adds a kernel to it puts another entry in its place, and retires this one,
 * which stays as long as something was built with it; see replace.c. */
typedef struct mw_op_entry {
  mw_op op; /* a copy, so that an older plugin's shorter struct is complete */
  int refs; /* nodes and steps of programs */
  bool retired;
  struct mw_op_entry *next; /* in the list of the retired */
  mw_plugin *plugin;
  const char *file; /* of ops/, without .c, of what is shipped; else NULL */
  int n_in, n_out;  /* declared */
  int required;     /* inputs without which it cannot be applied */
  bool variadic;
  void *defaults;           /* the attribute struct before any setting */
  uint64_t must_set;        /* bit i: attribute i has no default */
  mw_kernel_entry *kernels; /* by falling priority, then by age */
  int n_kernels;
  char *preferred;                         /* name of a kernel, or NULL; this may change */
  bool takes_key;                          /* some input is a random key */
  struct mw_known *known[MW_KNOWN_PLACES]; /* what infer came to; see known.c */
  const struct mw_known *last_known;       /* of them, or NULL */
  char *backward_name;                     /* "conv2d.backward" */
} mw_op_entry;

struct mw_plugin {
  mw_context *ctx;
  char *origin; /* "shipped", or the library's path */
  void *library;
  void (*close)(void *library);
  mw_plugin *next;
  uint32_t abi; /* that it was built for; 0 when it did not say */
  char built_for[24];
  const char *file;     /* of ops/ that registers now, without .c; NULL: it is not shipped */
  mw_plugin *replaces;  /* until it is committed */
  bool overrides;       /* its ops and kernels may take the place of shipped ones */
  bool retired;         /* replaced; closed when nothing is left that was built with it */
  mw_op_entry **staged; /* by name: what a commit puts into the registry */
  int n_staged, staged_room;
};

/* A library registers between begin and commit, at which everything is seen at once; abort takes
 * all of it back, and frees p. A plugin that replaces another (which is set after begin) brings ops
 * and kernels in place of the other's; what it does not bring is gone. After a failure of commit
 * the caller aborts, and all is as before.
 *
 * One that overrides (likewise) may bring ops and kernels that are shipped. What other plugins, and
 * other shipped files, have for an op that it brings stays aside. When it goes, or no longer brings
 * something, what is shipped is there again. */
mw_plugin *mw_plugin_begin(mw_context *ctx, const char *origin, void *library,
                           void (*close)(void *library));
mw_status mw_plugin_commit(mw_plugin *plugin);
void mw_plugin_abort(mw_plugin *plugin);
void mw_registry_free(mw_context *ctx);

mw_op_entry *mw_registry_find(const mw_context *ctx, const char *name);
/* The shipped op, as it was shipped, if it has been overridden; else NULL. */
mw_op_entry *mw_registry_original(const mw_context *ctx, const char *name);
/* The op that is an operator of n operands in formulas, or NULL. */
const mw_op *mw_registry_operator(const mw_context *ctx, const char *sign, int n);
mw_status mw_host_accept(mw_plugin *plugin, uint32_t abi, const char *version);
mw_status mw_host_register_op(mw_plugin *plugin, const mw_op *op, size_t op_size, mw_dtype real);
mw_status mw_host_register_kernel(mw_plugin *plugin, const mw_kernel *kernel, size_t kernel_size,
                                  mw_dtype real);
/* Whether some kernel serves the dtype; and the best one for a call. */
bool mw_registry_serves(const mw_op_entry *entry, mw_dtype dtype);
bool mw_kernel_serves(const mw_kernel_entry *entry, mw_dtype dtype, const mw_call *call);
const mw_kernel *mw_registry_kernel(const mw_op_entry *entry, mw_dtype dtype, const mw_call *call);

/* replace.c: brings what was built with a retired entry to the one that is in its place. */
struct mw_node;
bool mw_attrs_same_layout(const mw_op *a, const mw_op *b);
mw_status mw_node_refresh(struct mw_node *node);
mw_status mw_program_refresh(mw_program *p);

/* ---- attributes --------------------------------------------------------------------------- */

mw_status mw_attrs_check_schema(mw_context *ctx, const mw_op *op);
/* Fills a zeroed struct with the defaults, and must_set with the attributes that have none. */
mw_status mw_attrs_defaults(mw_context *ctx, const mw_op *op, void *attrs, uint64_t *must_set);
/* attrs holds the defaults on entry. */
mw_status mw_attrs_set(mw_context *ctx, const mw_op_entry *entry, void *attrs, int n,
                       const mw_setting *settings);

/* ---- graph -------------------------------------------------------------------------------- */

typedef struct mw_node mw_node;

struct mw_tensor {
  mw_node *node;
  int index; /* which output of the node */
  mw_spec spec;
  mw_storage *storage; /* NULL until computed */
  uint64_t mark;       /* the walk that saw it last, and its number there: see collect.c */
  int local;
};

/* A MW_FORWARD node has n_out outputs and, when the op saves bytes, one more that only its
 * backward reads. A MW_BACKWARD node has one output for each input of the node that it
 * differentiates (dtype MW_NONE where not wanted), and four groups of inputs in this order:
 * that node's inputs, its outputs, its saved bytes, the gradients of its outputs; NULL where
 * not needed or absent. */
struct mw_node {
  mw_context *ctx;
  int refs;
  mw_node_kind kind;
  mw_op_entry *entry; /* NULL for a leaf */
  void *attrs;        /* in the node's own block, unless the op was replaced */
  size_t bytes;       /* of the block */
  bool own_attrs;     /* they have a block of their own */
  bool may_save;      /* there is room for saved bytes behind the outputs */
  bool reads_parameter;
  int n_in, n_out;
  bool saves;
  mw_tensor **in;
  uint64_t *in_version; /* of each input that is a parameter, when this node was built */
  mw_tensor *out;
  mw_node *forward;   /* of a MW_BACKWARD */
  char *name;         /* of a leaf, or NULL */
  const char *origin; /* where the user built it; the context's, or NULL */
  uint64_t version;   /* of a leaf: how often its value was replaced */
  int64_t draws;      /* of a random key: how far a new value moves the generator; else 0 */
  uint64_t mark;
  int local;
  uint64_t born;  /* its number in the order of making */
  uint64_t again; /* of a checkpoint the number of its function's call, else 0: see checkpoint.c */
  mw_node *next;  /* in the list of nodes to free */
};

/* known.c: what infer came to for a call. */
typedef struct mw_known {
  int n_in;
  size_t saved;
  void *attrs;    /* as they were set, */
  void *inferred; /* and as infer left them */
  mw_spec *in, *out;
} mw_known;
/* Whether inputs have these specs; those behind the last are absent. */
bool mw_known_fits(const mw_known *known, const mw_context *ctx, int n, mw_tensor *const *inputs);
/* What an op keeps for such a call, or NULL. Attributes that are the op's own defaults, by their
 * address, and others are looked for apart. */
const mw_known *mw_known_find(const mw_context *ctx, mw_op_entry *entry, int n,
                              mw_tensor *const *inputs, const void *attrs);
/* Notes a call before its infer runs, which may change the attributes, and after; frees with free().
 * NULL: it is not one to keep, or memory is short. */
mw_known *mw_known_start(const mw_node *node);
void mw_known_finish(mw_known *known, const mw_node *node, size_t saved);
/* Keeps it with the op, which takes it. */
void mw_known_keep(mw_op_entry *entry, int n, mw_tensor *const *inputs, bool default_attrs,
                   mw_known *known);
void mw_known_forget(mw_op_entry *entry);

/* NULL + error when the op does not accept this. outputs' references belong to the caller. */
mw_node *mw_node_forward(mw_context *ctx, mw_op_entry *entry, int n_inputs,
                         mw_tensor *const *inputs, int n_settings, const mw_setting *settings);
/* dout[j] may be NULL; wanted[i] picks the inputs. */
mw_node *mw_node_backward(mw_node *forward, mw_tensor *const *dout, const bool *wanted);
/* The same op with the same attributes on other inputs of the same specs. */
mw_node *mw_node_like(const mw_node *node, mw_tensor *const *inputs);
/* A constant that shares storage (takes the reference). */
mw_tensor *mw_constant_sharing(mw_context *ctx, const mw_spec *spec, mw_storage *storage);
mw_tensor *mw_constant_filled(mw_context *ctx, const mw_spec *spec, double value);
/* Fails when a parameter was updated after node was built from it. */
mw_status mw_node_check_versions(const mw_node *node);
static inline mw_status mw_node_check_fresh(const mw_node *node) {
  return node->reads_parameter ? mw_node_check_versions(node) : MW_OK;
}
/* Appends to the error of a node's infer where the inputs come from and what would repair it. */
void mw_explain_inputs(const mw_node *node);
/* Before a node's entry is used for more than its name. */
static inline mw_status mw_node_current(mw_node *node) {
  return node->entry && node->entry->retired ? mw_node_refresh(node) : MW_OK;
}
static inline bool mw_is_leaf(const mw_node *node) { return node->kind <= MW_INPUT; }
static inline bool mw_is_composed(const mw_op *op) { return op->compose || op->formula; }
mw_status mw_spec_check(mw_context *ctx, const mw_spec *spec); /* sizes, rank, overflow */

/* look.c: what messages call input i of an op with n_in of them. Returns text. */
const char *mw_input_text(const mw_op_entry *entry, int n_in, int i, char text[MW_NAME_TEXT]);

/* failure.c: remembers the node that the message is about, if that is wanted. NULL: it is a step's,
 * of a program that does not know its nodes. */
void mw_failure_note(mw_context *ctx, mw_node *node, bool of_gradient);
void mw_failure_note_step(const mw_program *p, mw_node *const *nodes, int step);

/* checkpoint.c: what lies between the n_y checkpoints of one call and their boundary once more, to
 * be run when their dy are there. None of the tensors in `refused` may be inside. */
typedef struct mw_again {
  int n, n_y;
  mw_tensor **edge, **copies; /* the boundary, and what stands for it in the copy */
  mw_tensor **y;              /* the copy's results */
} mw_again;
mw_status mw_compute_again(mw_context *ctx, int n_y, mw_node *const *checkpoints,
                           mw_tensor *const *dy, const mw_table *refused, mw_again *again);
void mw_again_free(mw_again *again); /* also after a failure */
/* t, in an order after others. */
mw_tensor *mw_after(mw_tensor *t, int n, mw_tensor *const *others);

/* ---- from a graph to a program ------------------------------------------------------------ */

/* collect.c: what has to run for some tensors, in order, and its structure as a key.
 * A reference to a value: a leaf (something that has its value) or an output of a step. */
typedef int64_t mw_ref;
#define MW_REF_NONE (-1)

/* How far a walk goes where values are there already. */
typedef enum mw_extent {
  MW_TO_VALUES,    /* a value is a leaf */
  MW_BESIDE_STEPS, /* so it is here, unless its step is listed */
  MW_TO_LEAVES     /* to the leaves of the graph */
} mw_extent;

typedef struct mw_collection {
  mw_extent extent;
  int n_leaves, n_steps, n_results, n_updates;
  mw_tensor **leaves; /* not retained */
  mw_node **steps;    /* in an order in which they can run */
  mw_ref *results, *updates;
  int *targets;  /* leaves to replace */
  uint64_t *key; /* the structure; equal keys mean programs that do the same */
  size_t key_words;
  size_t leaves_room, steps_room, key_room, stack_room, results_room, updates_room, targets_room;
  struct mw_visit *stack;
} mw_collection;

/* What is to be run: compute tensors, then give each parameter targets[i] the value values[i]. */
typedef struct mw_request {
  int n, n_updates;
  mw_tensor *const *tensors, *const *targets, *const *values;
} mw_request;

/* Fills c, whose arrays are reused from call to call (start with zeros). */
mw_status mw_collect(mw_context *ctx, const mw_request *request, mw_collection *c);
/* The same for what a request is derived from: all steps below tensors that are differentiated,
 * whether they have a value or not. A reference to a value is then one to its step. */
mw_status mw_collect_recipe(mw_context *ctx, const mw_recipe *recipe, mw_collection *c);
void mw_collection_free(mw_collection *c);
/* The reference of a tensor in the collection made last. */
mw_ref mw_collect_ref(const mw_tensor *t);
static inline mw_ref mw_ref_to_leaf(int leaf) { return (mw_ref)leaf << 1 | 1; }
static inline mw_ref mw_ref_to_output(int step, int output) {
  return (mw_ref)step << 32 | (mw_ref)output << 1;
}
static inline bool mw_ref_is_leaf(mw_ref r) { return r & 1; }
static inline int mw_ref_leaf(mw_ref r) { return (int)(r >> 1); }
static inline int mw_ref_step(mw_ref r) { return (int)(r >> 32); }
static inline int mw_ref_output(mw_ref r) { return (int)((r & 0xFFFFFFFF) >> 1); }

/* compile.c: a program's values ("slots") and calls. */
typedef enum mw_place { MW_IN_LEAF, MW_IN_ARENA, MW_IN_RESULT, MW_IN_BLOCK } mw_place;

typedef struct mw_slot {
  mw_spec spec;
  int root;         /* the slot whose bytes these are; itself when they are its own */
  int home;         /* that slot before anything is written in place */
  mw_place place;   /* of a root */
  int leaf;         /* MW_IN_LEAF: which */
  size_t bytes;     /* of a root */
  size_t offset;    /* MW_IN_ARENA; MW_IN_BLOCK: of a slice of it, in a worker's block */
  int first, last;  /* of a root: the steps between which it must be kept */
  mw_storage *held; /* MW_IN_RESULT: during a run the result; between runs one to use again */
  int over;         /* MW_IN_RESULT: the leaf that it may be written over, or -1 */
  void *bound;      /* of a root outside of the arena: where the steps that use it look, */
  int uses;         /* and the first of these; -1: none */
} mw_slot;

typedef struct mw_use { /* where a step has the address of a root outside of the arena */
  void **at;
  int next; /* of the same root; -1: none */
} mw_use;

typedef struct mw_step {
  mw_op_entry *entry;
  const mw_kernel *kernel;
  mw_call call;
  mw_array *arrays; /* all of the call's, in one block */
  int *slots;       /* the slot of each array; -1 for none */
  int n_arrays;
  int saved, scratch; /* slots, or -1 */
  size_t worker_bytes;
  int node;  /* its number among the collection's steps */
  int block; /* the slot of the region that begins here, or began here before; -1: none */
} mw_step;

/* region.c, region_run.c: consecutive steps that are run slice by slice: all of them on some entries
 * of a batch, or on a strip of the elements, then all of them on the next. Values that only these
 * steps need exist as one slice for each worker, in its block. */
#define MW_MAX_CUT 32   /* arrays of a step that takes part */
typedef struct mw_cut { /* of an array of a step in a region */
  enum { MW_WHOLE, MW_SLICED, MW_SUMMED } role;
  size_t unit; /* MW_SLICED: bytes of an entry. MW_SUMMED: where among the sums of a slice */
} mw_cut;

typedef struct mw_part { /* a step on a slice */
  mw_step step;      /* its call has the slice's shapes; slots, attributes and entry are borrowed */
  mw_cut *cuts;      /* of each array, and of the saved bytes */
  size_t call_bytes; /* of scratch */
  size_t scratch;    /* where in a worker's block */
} mw_part;

typedef struct mw_region {
  int first, end; /* steps first .. end-1 */
  bool flat;      /* entries are elements; else positions on axis 0 */
  int64_t entries, slice;
  mw_part *parts, *last; /* on `slice` entries; on those of the last slice, where it has fewer */
  int block;             /* slot: a block for each worker, then the sums of each slice */
  size_t worker_bytes, sums_bytes;
} mw_region;

struct mw_program {
  mw_context *ctx;
  uint64_t hash, *key;
  size_t key_words;
  int n_steps, n_slots, n_leaves, n_results, n_updates, n_regions;
  int slots_room;
  mw_step *steps;
  mw_region *regions; /* in order */
  mw_slot *slots;
  int *results, *updates; /* slots */
  int *targets;           /* leaves */
  mw_storage **fresh;     /* room for each update */
  int *apart, n_apart;    /* roots outside of the arena: leaves and results */
  mw_use *uses;           /* of these; NULL: no step knows its addresses */
  const char *bound_to;   /* the arena that the steps know */
  int sure;               /* the first step that writes over a leaf; from it on none may fail */
  int threads;            /* that its steps have scratch for */
  size_t arena, arena_unshared;
  mw_tensor **leaves;   /* of a program kept by hand; of one with a recipe its constants */
  mw_ref *sources;      /* of one with a recipe: each leaf in the recipe's collection, or none */
  mw_tensor **bound;    /* of one with a recipe: the leaves of a run */
  const char **origins; /* of both: where each step was built; NULL where that is not known */
  mw_node **nodes; /* of one kept by hand while failures are kept: what it was made of; or NULL */
  int n_nodes;
  uint64_t generation; /* of the registry, when its kernels were chosen */
  bool running;
  bool commuted, held_back; /* steps changed places, see commute.c; or would have, unwatched */
  uint64_t profile;         /* that it is in, and where its steps begin there: see profile.c */
  int first_cost;
};

void mw_call_arrays(mw_call *call, const mw_array *arrays); /* points it at them */
mw_status mw_step_choose(mw_program *p, mw_step *step);     /* its kernel and scratch */
/* Its kernel alone, and the scratch that it needs; call->worker_stride is set. */
mw_status mw_step_pick(mw_program *p, mw_step *step, mw_workspace *need);
int mw_slot_new(mw_program *p, const mw_spec *spec, mw_place place); /* -1 + error */
/* tune.c: the kernel for a step, by priority or by what kernels take; and, once a program is
 * complete, what was measured goes into the table's file. */
const mw_kernel *mw_tune_kernel(const mw_program *p, const mw_step *step, mw_dtype dtype);
void mw_tune_settle(mw_context *ctx);
mw_program *mw_compile(mw_context *ctx, const mw_collection *c);
mw_status mw_commute(mw_program *p); /* commute.c: once results and updates are known */
mw_status mw_plan(mw_program *p);    /* plan.c: places and offsets of the slots */
/* bind.c: tells the steps outside of regions where their arrays lie in this run. */
mw_status mw_bind(mw_program *p, mw_tensor *const *leaves);
void mw_unbind(mw_program *p); /* its steps or their places have changed */
mw_status mw_step_run(mw_step *step);
void *mw_slot_address(mw_program *p, mw_tensor *const *leaves, int slot); /* in a run, of a root */

/* Regions are found anew when ops were replaced; then steps outside get their kernels. */
mw_status mw_regions_find(mw_program *p);
void mw_regions_free(mw_program *p);
const mw_region *mw_region_of(const mw_program *p, int step); /* NULL: in none */
/* Whether a step of the region reads that root other than slice by slice. */
bool mw_region_reads_whole(const mw_program *p, const mw_region *region, int root);
/* Lifetimes are known: puts what lives in a region alone into its block, and lets all else that its
 * steps touch live as long as they run. */
mw_status mw_regions_place(mw_program *p);
mw_status mw_region_run(mw_program *p, const mw_region *region, mw_tensor *const *leaves,
                        mw_node *const *nodes);
/* watch.c: the same, with a look at what goes in and what comes out. */
mw_status mw_watch_step(mw_step *step, const char *origin);
/* profile.c. Before the steps of a program run, while a profile is taken; and after a call of one of
 * them, or of a part of it, by any worker. ctx->recorder is NULL when none is taken. */
mw_status mw_profile_program(mw_program *p, mw_node *const *nodes);
double mw_profile_now(void);
void mw_profile_call(mw_program *p, int step, int worker, double begin);
void mw_recorder_free(mw_context *ctx);
/* Bytes of a slot during a run; of its root, through views and values written in place. */
static inline mw_slot *mw_slot_root(mw_slot *slots, int slot) {
  while (slots[slot].root != slot) slot = slots[slot].root;
  return &slots[slot];
}
void mw_program_destroy(mw_program *p);
/* run.c: the program with c's key, if it is not running; and a new one, which the cache owns. */
mw_program *mw_cache_find(mw_context *ctx, const mw_collection *c);
uint64_t mw_key_hash(const uint64_t *words, size_t n);
void mw_cache_add(mw_context *ctx, mw_program *p);
void mw_cache_clear(mw_context *ctx);
mw_status mw_program_note_origins(mw_program *p, const mw_collection *c);
/* Runs p for n tensors, which get their values, and updates its targets. nodes: c's steps, or NULL
 * when p has noted origins. */
mw_status mw_run_request(mw_program *p, mw_tensor *const *leaves, mw_node *const *nodes, int n,
                         mw_tensor *const *tensors);

/* ---- context ------------------------------------------------------------------------------ */

typedef struct mw_shipped {
  const char *file; /* of ops/, without .c */
  mw_plugin_entry entry;
} mw_shipped;

typedef struct mw_level {
  const char *name;
  const mw_shipped *ops; /* ends with NULL */
  const mw_gemm_kernel *gemm_f32, *gemm_f64;
} mw_level;
extern const mw_level mw_levels[]; /* generated by the build: best first, ends with a NULL name */

#define MW_MAX_SCRATCH ((size_t)1 << 48) /* more bytes than any machine has; sums cannot overflow */
#define MW_ERROR_TEXT 1024
#define MW_MAX_CACHED 128
#define MW_MAX_DEPTH 32 /* of runs inside each other; fewer than programs are cached */

/* origin.c: a hash table of the texts that nodes point to. */
typedef struct mw_origins {
  char **texts;
  int n, room;
} mw_origins;
void mw_origins_free(mw_origins *origins);
mw_status mw_host_expect_axis(const mw_infer *it, const char *name, int64_t *axis, int rank);

struct mw_context {
  int refs; /* one for the user, one for each node */
  char error[MW_ERROR_TEXT];
  const char *origin; /* of what is built now, or NULL */
  mw_origins origins; /* all that there are */
  int first_axis;     /* what messages call it */
  const mw_level *level;
  mw_op_entry **ops; /* by name */
  int n_ops, ops_room;
  mw_op_entry **op_places; /* the same by a hash of the name; never full */
  size_t n_op_places;      /* a power of two */
  mw_op_entry *adder;      /* the op that adds gradients */
  mw_plugin *plugins;
  const mw_plugin *shipped; /* one of them */
  mw_op_entry *retired;
  mw_op_entry **originals; /* by name: shipped ops that were overridden, as they were shipped */
  int n_originals, originals_room;
  uint64_t generation; /* grows when an op is replaced */
  int threads;
  struct mw_tuner *tuner; /* tune.h; NULL until it is asked for */
  mw_pool *pool;          /* the threads beside the one that runs programs */
  char *workspace;        /* of matrix products: one piece for each worker */
  size_t workspace_stride;
  uint64_t seed, position;
  uint64_t moved;                   /* how often a leaf was given other storage */
  uint64_t walk;                    /* number of the last walk; marks compare with it */
  mw_program *cache[MW_MAX_CACHED]; /* most recently used first */
  int n_cached;
  mw_collection collection; /* reused by every evaluation */
  mw_collection recipe;     /* likewise, for what a request is derived from */
  uint64_t varied;          /* how often an op of MW_VARIES was asked to build; see derive.c */
  uint64_t varied_before;   /* what was counted when a recipe was not found */
  char *arena;
  size_t arena_bytes;
  volatile sig_atomic_t interrupted;
  int depth;         /* of runs: a hook may start one inside another */
  uint64_t born;     /* nodes made so far */
  bool watching;     /* for any of these: */
  bool watches_nans; /* watch.c */
  mw_look look;
  void *look_state;
  bool keeps_failures; /* failure.c */
  mw_failure failure;
  bool failed_unseen; /* a step failed, of a program that does not know its nodes */
  bool builds_again;  /* so the update that failed is built and run again: see derive.c */
  mw_slicing slicing;
  bool keeps_denormals;
  struct mw_recorder *recorder; /* profile.c; NULL: no profile is taken */
  uint64_t profiles;            /* started so far */
  struct mw_hook_place *hooks;  /* hook.c */
  int n_hooks;
  mw_stats stats;
  size_t peak; /* see mw_context_peak() */
  mw_blocks blocks;
};

mw_status mw_set_error(mw_context *ctx, const char *format, ...) MW_PRINTF(2, 3);
/* Puts "name: " before the message that is there. */
void mw_prefix_error(mw_context *ctx, const char *name);
/* Puts text behind it. */
void mw_append_error(mw_context *ctx, const char *text);
/* While several threads run steps, each has a message of its own: `to` has room for
 * MW_ERROR_TEXT; NULL: the context's again. Returns what was set before. */
char *mw_error_divert(char *to);
char *mw_error_here(mw_context *ctx); /* where this thread's message is */
mw_status mw_no_memory(mw_context *ctx);
extern const mw_host mw_host_table;

mw_status mw_host_hook(mw_context *ctx, const mw_array *leaf, bool gradient, const mw_array *value);

/* Gives a random key the generator's next value. */
mw_status mw_random_key_next(mw_tensor *key);
int mw_host_threads(const mw_context *ctx);
void mw_host_gemm(mw_context *ctx, mw_dtype dtype, const mw_gemm *product, int worker);
mw_status mw_threads_prepare(mw_context *ctx, int threads); /* workspaces */

/* build.c: what ops build of other ops. mw_build_gradient() calls f's op's gradient, which fills
 * din (room for f->n_in, zeroed); b holds what it made until mw_build_free(), also after a
 * failure. */
mw_status mw_build_gradient(mw_node *f, mw_tensor *const *dout, const bool *wanted, mw_tensor **din,
                            mw_build *b);
/* The outputs of a composition; the node holds its inputs and attributes. */
mw_status mw_build_outputs(const mw_node *node, mw_tensor **out);
void mw_build_fail(mw_build *b); /* what is made from now on is NULL */
bool mw_build_failed(const mw_build *b);
void mw_build_free(mw_build *b);
mw_tensor *mw_host_make(mw_build *b, const char *op, int n_inputs, mw_tensor *const *inputs,
                        int n_settings, const mw_setting *settings);
mw_tensor *mw_host_keep(mw_build *b, mw_tensor *t);
mw_tensor *mw_host_make_constant(mw_build *b, const mw_spec *spec, double value);

/* formula.c */
mw_tensor *mw_host_formula(mw_build *b, const char *text);
mw_status mw_formula_gradient(mw_build *b); /* by the op's derivative[] */

#endif
