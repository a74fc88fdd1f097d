/* gate.c: runs of a program in which every call of an op's kernel is looked at closely: its arrays
 * between guard pages and its inputs read-only, what it has to write filled with a pattern, chunks
 * of parallel loops in an order that shows what depends on it. */
#include "gate.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../graph/denormals.h"
#include "../graph/internal.h"

/* ---- parallel loops: one chunk after the other, but in an order of our choice ---------------- */

static int workers = 1;

static void parallel(mw_context *ctx, int64_t chunks, mw_chunk run, void *arg) {
  (void)ctx;
  if (workers == 1)
    for (int64_t c = 0; c < chunks; c++) run(arg, c, 0);
  else
    for (int64_t c = chunks - 1; c >= 0; c--) run(arg, c, (int)(c % workers));
}

/* ---- memory that is short -------------------------------------------------------------------- */

typedef struct hoard {
  void *first; /* a chain of all that malloc() had to give */
  struct rlimit before;
} hoard;

static size_t mapped_now(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  unsigned long pages = 0;
  if (!file) return 0;
  if (fscanf(file, "%lu", &pages) != 1) pages = 0;
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void hoard_all(hoard *h) {
  const size_t mapped = mapped_now();
  h->first = NULL;
  getrlimit(RLIMIT_AS, &h->before);
  if (!mapped) return; /* a system without /proc */
  const struct rlimit now = {.rlim_cur = mapped, .rlim_max = h->before.rlim_max};
  if (setrlimit(RLIMIT_AS, &now)) return;
  for (size_t size = (size_t)1 << 22; size >= 16; size /= 2)
    for (void **piece; (piece = malloc(size));) {
      *piece = h->first;
      h->first = piece;
    }
}

static void hoard_free(hoard *h) {
  setrlimit(RLIMIT_AS, &h->before);
  while (h->first) {
    void *next = *(void **)h->first;
    free(h->first);
    h->first = next;
  }
}

/* ---- one call -------------------------------------------------------------------------------- */

/* The arrays of one call, then its saved bytes, its scratch and that of its workers. */
typedef struct guarded {
  const mw_gate *gate;
  mw_step *step;
  mw_guard *guards;
  int n, saved, call, worker; /* positions in guards; -1 where there are none */
} guarded;

static const char *argument_name(const mw_arg *declared, int i) {
  int n = 0;
  while (n < MW_MAX_ARGS && declared[n].name) n++;
  return n ? declared[i < n ? i : n - 1].name : "?";
}

/* "x", "y", "dy", "dx": what array a of a call is called, and whether the call writes it. */
static bool array_name(const mw_call *call, int a, char *name, size_t room) {
  const mw_op *op = call->op;
  const char *of = NULL;
  bool gradient = false, written = false;
  if (a < call->n_in) {
    of = argument_name(op->inputs, a);
  } else if (a < call->n_in + call->n_out) {
    of = argument_name(op->outputs, a - call->n_in);
    written = !call->backward;
  } else if (a < call->n_in + 2 * call->n_out) {
    of = argument_name(op->outputs, a - call->n_in - call->n_out);
    gradient = true;
  } else {
    of = argument_name(op->inputs, a - call->n_in - 2 * call->n_out);
    gradient = written = true;
  }
  snprintf(name, room, "%s%s", gradient ? "d" : "", of);
  return written;
}

/* "forward on x f32[3,1,5], b f32[5]" */
static void write_note(const mw_gate *gate, const mw_call *call) {
  mw_note *note = gate->note;
  char spec[MW_SPEC_TEXT];
  if (!note) return;
  snprintf(note->op, sizeof note->op, "%s%s", call->op->name,
           gate->starved ? ", when malloc() gave NULL," : "");
  size_t at = (size_t)snprintf(note->doing, sizeof note->doing, "%s on",
                               call->backward ? "backward" : "forward");
  for (int i = 0; i < call->n_in && at < sizeof note->doing; i++)
    if (call->in[i].spec.dtype != MW_NONE)
      at += (size_t)snprintf(note->doing + at, sizeof note->doing - at, "%s %s %s", i ? "," : "",
                             argument_name(call->op->inputs, i),
                             mw_spec_text(&call->in[i].spec, spec));
}

static mw_status add_guard(guarded *g, const char *name, size_t bytes, unsigned char fill,
                           int *place) {
  mw_guard *guard = &g->guards[g->n];
  if (!mw_guard_new(guard, name, bytes, g->gate->at_end, g->gate->slack))
    return mw_no_memory(g->step->call.context);
  memset(guard->data, fill, bytes);
  *place = g->n++;
  return MW_OK;
}

static size_t array_bytes(const mw_array *array) { return mw_spec_bytes(&array->spec); }

/* Guarded memory for all that the call reads and writes; store holds the values of the slots. */
static mw_status set_up(guarded *g, const mw_program *p, char *const *store) {
  mw_step *step = g->step;
  mw_call *call = &step->call;
  for (int a = 0; a < step->n_arrays; a++) {
    char name[32];
    const bool written = array_name(call, a, name, sizeof name);
    int at = 0;
    step->arrays[a].data = NULL;
    if (step->slots[a] < 0) continue;
    if (add_guard(g, name, array_bytes(&step->arrays[a]), g->gate->outputs, &at)) return MW_FAILED;
    step->arrays[a].data = g->guards[at].data;
    if (written) continue;
    const int root = (int)(mw_slot_root(p->slots, step->slots[a]) - p->slots);
    if (g->guards[at].bytes) memcpy(g->guards[at].data, store[root], g->guards[at].bytes);
    mw_guard_read_only(&g->guards[at]);
  }
  call->saved = NULL;
  if (step->saved >= 0) {
    if (add_guard(g, "saved", p->slots[step->saved].bytes, g->gate->scratch, &g->saved))
      return MW_FAILED;
    call->saved = g->guards[g->saved].data;
    if (call->backward) memcpy(call->saved, store[step->saved], g->guards[g->saved].bytes);
    if (call->backward) mw_guard_read_only(&g->guards[g->saved]);
  }
  if (!step->kernel->workspace) return MW_OK;
  mw_workspace need = {0};
  step->kernel->workspace(call, &need);
  call->worker_stride = mw_aligned(need.worker);
  if (add_guard(g, "scratch", need.call, g->gate->scratch, &g->call) ||
      add_guard(g, "worker scratch", call->worker_stride * (size_t)g->gate->workers,
                g->gate->scratch, &g->worker))
    return MW_FAILED;
  call->scratch = g->guards[g->call].data;
  call->worker_scratch = g->guards[g->worker].data;
  return MW_OK;
}

/* What the call wrote goes where the next calls find it. */
static mw_status take_down(guarded *g, const mw_program *p, char **store) {
  mw_step *step = g->step;
  char text[64], name[32];
  for (int i = 0; i < g->n; i++)
    if (mw_guard_damage(&g->guards[i], text, sizeof text))
      return mw_set_error(step->call.context, "%s: it wrote %s, in %s", step->call.op->name, text,
                          g->gate->note ? g->gate->note->doing : "a call");
  for (int a = 0; a < step->n_arrays; a++) {
    if (step->slots[a] < 0 || !array_name(&step->call, a, name, sizeof name)) continue;
    const int root = (int)(mw_slot_root(p->slots, step->slots[a]) - p->slots);
    memcpy(store[root], step->arrays[a].data, array_bytes(&step->arrays[a]));
  }
  if (g->saved >= 0 && !step->call.backward)
    memcpy(store[step->saved], g->guards[g->saved].data, g->guards[g->saved].bytes);
  return MW_OK;
}

static mw_status run_starved(mw_step *step) {
  hoard all;
  hoard_all(&all);
  mw_status status = mw_step_run(step);
  hoard_free(&all);
  return status;
}

static mw_status run_guarded(const mw_gate *gate, const mw_program *p, mw_step *step,
                             char **store) {
  guarded g = {.gate = gate, .step = step, .saved = -1, .call = -1, .worker = -1};
  mw_host host = mw_host_table;
  host.parallel = parallel;
  g.guards = calloc((size_t)step->n_arrays + 3, sizeof *g.guards);
  if (!g.guards) return mw_no_memory(p->ctx);
  mw_status status = set_up(&g, p, store);
  if (!status) {
    step->call.host = &host;
    workers = gate->workers;
    write_note(gate, &step->call);
    mw_guard_watch(g.guards, g.n);
    status = gate->starved ? run_starved(step) : mw_step_run(step);
    if (!status) status = take_down(&g, p, store);
    mw_guard_watch(NULL, 0);
    workers = 1;
    if (gate->note) gate->note->op[0] = '\0';
  }
  for (int i = 0; i < g.n; i++) mw_guard_free(&g.guards[i]);
  free(g.guards);
  return status;
}

/* ---- a program ------------------------------------------------------------------------------- */

/* A call of another op: its arrays are the store itself. */
static mw_status run_plainly(const mw_program *p, mw_step *step, char **store) {
  mw_call *call = &step->call;
  for (int a = 0; a < step->n_arrays; a++)
    step->arrays[a].data =
        step->slots[a] < 0 ? NULL : store[mw_slot_root(p->slots, step->slots[a]) - p->slots];
  call->saved = step->saved < 0 ? NULL : store[step->saved];
  if (step->scratch >= 0) {
    call->worker_scratch = store[step->scratch];
    call->scratch = call->worker_scratch + step->worker_bytes;
  }
  return mw_step_run(step);
}

/* Memory for the value of each slot that has one of its own; leaves have theirs. */
static mw_status fill_store(const mw_program *p, const mw_collection *c, char **store) {
  for (int s = 0; s < p->n_slots; s++) {
    const mw_slot *slot = &p->slots[s];
    if (slot->root != s) continue;
    if (slot->place != MW_IN_LEAF) {
      store[s] = aligned_alloc(MW_ALIGN, mw_aligned(slot->bytes + 1));
      if (!store[s]) return mw_no_memory(p->ctx);
    } else if (c->leaves[slot->leaf]->storage) {
      store[s] = c->leaves[slot->leaf]->storage->data;
    } else {
      return mw_set_error(p->ctx, "the input '%s' has no value",
                          mw_tensor_name(c->leaves[slot->leaf]));
    }
  }
  return MW_OK;
}

static void free_store(const mw_program *p, char **store) {
  for (int s = 0; store && s < p->n_slots; s++)
    if (p->slots[s].place != MW_IN_LEAF) free(store[s]);
  free(store);
}

static mw_status take_results(const mw_program *p, char **store, mw_tensor **results) {
  for (int i = 0; i < p->n_results; i++) {
    const int s = p->results[i];
    results[i] =
        mw_constant(p->ctx, &p->slots[s].spec, store[mw_slot_root(p->slots, s) - p->slots]);
    if (!results[i]) return MW_FAILED;
  }
  return MW_OK;
}

static mw_status run_program(const mw_gate *gate, mw_program *p, const mw_collection *c,
                             mw_tensor **results, int *calls, const char **kernel) {
  char **store = calloc((size_t)p->n_slots + 1, sizeof *store);
  mw_status status = store ? fill_store(p, c, store) : mw_no_memory(p->ctx);
  const mw_float_mode before = mw_denormals_flush(!p->ctx->keeps_denormals); /* as in any run */
  for (int k = 0; k < p->n_steps && !status; k++) {
    mw_step *step = &p->steps[k];
    const bool looked_at = !gate->op || strcmp(gate->op, step->call.op->name) == 0;
    if (looked_at && calls) ++*calls;
    if (looked_at && kernel) *kernel = step->kernel->name;
    status = looked_at ? run_guarded(gate, p, step, store) : run_plainly(p, step, store);
  }
  mw_float_mode_set(before);
  if (!status) status = take_results(p, store, results);
  free_store(p, store);
  return status;
}

mw_status mw_gate_run(mw_context *ctx, const mw_gate *gate, int n, mw_tensor *const *tensors,
                      mw_tensor **results, int *calls, const char **kernel) {
  mw_collection c = {0};
  const mw_request request = {.n = n, .tensors = tensors};
  mw_gate fitting = *gate;
  if (fitting.workers < 1) fitting.workers = 1;
  if (fitting.workers > ctx->threads) fitting.workers = ctx->threads; /* matrix products' memory */
  for (int i = 0; i < n; i++) results[i] = NULL;
  if (calls) *calls = 0;
  mw_status status = mw_collect(ctx, &request, &c);
  const mw_slicing slicing = ctx->slicing;
  ctx->slicing = MW_SLICE_NEVER; /* each step is one call, which is the one to be guarded */
  mw_program *p = status ? NULL : mw_compile(ctx, &c);
  ctx->slicing = slicing;
  status = p ? run_program(&fitting, p, &c, results, calls, kernel) : MW_FAILED;
  for (int i = 0; i < n && status; i++) {
    mw_release(results[i]);
    results[i] = NULL;
  }
  if (p) mw_program_destroy(p);
  mw_collection_free(&c);
  return status;
}

void mw_gate_forget(mw_context *ctx) {
  for (int i = 0; i < ctx->n_ops; i++) mw_known_forget(ctx->ops[i]);
}

/* ---- what a plugin was built against --------------------------------------------------------- */

static struct {
  uint32_t abi;
  char version[64];
} asked;

static mw_status note_and_refuse(mw_plugin *plugin, uint32_t abi, const char *version) {
  (void)plugin;
  asked.abi = abi;
  snprintf(asked.version, sizeof asked.version, "%s", version ? version : "?");
  return MW_FAILED;
}

mw_status mw_gate_abi(mw_context *ctx, const char *path, uint32_t *abi, char version[64]) {
  char full[4096];
  snprintf(full, sizeof full, "%s%s", strchr(path, '/') ? "" : "./", path);
  void *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
  void *symbol = library ? dlsym(library, MW_PLUGIN_SYMBOL) : NULL;
  if (!symbol) {
    const char *reason = dlerror();
    mw_set_error(ctx, "%s: %s", path, reason ? reason : "it has no entry");
    if (library) dlclose(library);
    return MW_FAILED;
  }
  mw_plugin_entry entry;
  memcpy(&entry, &symbol, sizeof entry);
  mw_host host = mw_host_table;
  host.accept = note_and_refuse;
  asked.abi = 0;
  asked.version[0] = '\0';
  entry(&host, NULL);
  dlclose(library);
  if (!asked.abi) return mw_set_error(ctx, "%s: its entry does not ask to be accepted", path);
  *abi = asked.abi;
  memcpy(version, asked.version, sizeof asked.version);
  return MW_OK;
}
