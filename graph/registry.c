/* registry.c: ops and kernels by name, and the libraries that they come from. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "registry.h"

/* ---- libraries ---------------------------------------------------------------------------- */

mw_plugin *mw_plugin_begin(mw_context *ctx, const char *origin, void *library,
                           void (*close)(void *library)) {
  mw_plugin *plugin = calloc(1, sizeof *plugin);
  if (plugin) plugin->origin = strdup(origin);
  if (!plugin || !plugin->origin) {
    free(plugin);
    mw_no_memory(ctx);
    return NULL;
  }
  plugin->ctx = ctx;
  plugin->library = library;
  plugin->close = close;
  return plugin;
}

void mw_entry_free(mw_op_entry *entry) {
  mw_known_forget(entry);
  free(entry->defaults);
  free(entry->kernels);
  free(entry->preferred);
  free(entry->backward_name);
  free(entry);
}

void mw_plugin_free(mw_plugin *plugin) {
  free(plugin->staged);
  free(plugin->origin);
  free(plugin);
}

void mw_plugin_abort(mw_plugin *plugin) {
  for (int i = 0; i < plugin->n_staged; i++) mw_entry_free(plugin->staged[i]);
  mw_plugin_free(plugin);
}

void mw_registry_free(mw_context *ctx) {
  for (int i = 0; i < ctx->n_ops; i++) mw_entry_free(ctx->ops[i]);
  free(ctx->ops);
  free(ctx->op_places);
  for (int i = 0; i < ctx->n_originals; i++) mw_entry_free(ctx->originals[i]);
  free(ctx->originals);
  for (mw_op_entry *e = ctx->retired, *next; e; e = next) {
    next = e->next;
    mw_entry_free(e);
  }
  for (mw_plugin *p = ctx->plugins, *next; p; p = next) {
    next = p->next;
    if (p->close) p->close(p->library);
    mw_plugin_free(p);
  }
}

/* ---- looking up --------------------------------------------------------------------------- */

int mw_ops_place(mw_op_entry *const *ops, int n, const char *name, bool *found) {
  int low = 0, high = n;
  *found = false;
  while (low < high && !*found) {
    int middle = low + (high - low) / 2, order = strcmp(name, ops[middle]->op.name);
    if (order == 0) *found = true;
    if (order <= 0) high = middle;
    if (order > 0) low = middle + 1;
  }
  return high;
}

mw_op_entry *mw_ops_find(mw_op_entry *const *ops, int n, const char *name) {
  bool found;
  int place = mw_ops_place(ops, n, name, &found);
  return found ? ops[place] : NULL;
}

static size_t hash_of(const char *name) { /* FNV-1a */
  uint32_t hash = UINT32_C(2166136261);
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT32_C(16777619);
  return hash ^ hash >> 15;
}

mw_op_entry *mw_registry_find(const mw_context *ctx, const char *name) {
  if (!ctx->n_op_places) return NULL;
  size_t mask = ctx->n_op_places - 1, i = hash_of(name) & mask;
  while (ctx->op_places[i] && strcmp(ctx->op_places[i]->op.name, name) != 0) i = (i + 1) & mask;
  return ctx->op_places[i];
}

mw_status mw_registry_reserve_places(mw_context *ctx, int n) {
  size_t room = ctx->n_op_places ? ctx->n_op_places : 64;
  while (room < 2 * (size_t)n) room *= 2;
  if (room == ctx->n_op_places) return MW_OK;
  mw_op_entry **grown = realloc(ctx->op_places, room * sizeof *grown);
  if (!grown) return mw_no_memory(ctx);
  memset(grown + ctx->n_op_places, 0, (room - ctx->n_op_places) * sizeof *grown);
  ctx->op_places = grown;
  ctx->n_op_places = room;
  return MW_OK;
}

void mw_registry_fill_places(mw_context *ctx) {
  size_t mask = ctx->n_op_places - 1;
  memset(ctx->op_places, 0, ctx->n_op_places * sizeof *ctx->op_places);
  for (int k = 0; k < ctx->n_ops; k++) {
    size_t i = hash_of(ctx->ops[k]->op.name) & mask;
    while (ctx->op_places[i]) i = (i + 1) & mask;
    ctx->op_places[i] = ctx->ops[k];
  }
}

const mw_op *mw_op_find(const mw_context *ctx, const char *name) {
  const mw_op_entry *entry = mw_registry_find(ctx, name);
  return entry ? &entry->op : NULL;
}

const mw_op *mw_registry_operator(const mw_context *ctx, const char *sign, int n) {
  for (int i = 0; i < ctx->n_ops; i++) {
    const mw_op *op = &ctx->ops[i]->op;
    if (op->sign && ctx->ops[i]->n_in == n && strcmp(op->sign, sign) == 0) return op;
  }
  return NULL;
}

int mw_op_count(const mw_context *ctx) { return ctx->n_ops; }

const mw_op *mw_op_at(const mw_context *ctx, int i) {
  return i >= 0 && i < ctx->n_ops ? &ctx->ops[i]->op : NULL;
}

static bool same_letter(char a, char b) {
  return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits (insert, delete, change, swap of neighbours) that turn a into b, for short words. */
static int distance(const char *a, const char *b) {
  enum { LONGEST = 40 };
  int n = (int)strlen(a), m = (int)strlen(b);
  if (n > LONGEST || m > LONGEST) return LONGEST;
  int rows[3][LONGEST + 1];
  for (int j = 0; j <= m; j++) rows[0][j] = j;
  for (int i = 1; i <= n; i++) {
    int *row = rows[i % 3], *above = rows[(i + 2) % 3], *higher = rows[(i + 1) % 3];
    row[0] = i;
    for (int j = 1; j <= m; j++) {
      int best = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);
      if (above[j] + 1 < best) best = above[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      bool swapped =
          i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]);
      if (swapped && higher[j - 2] + 1 < best) best = higher[j - 2] + 1;
      row[j] = best;
    }
  }
  return rows[n % 3][m];
}

const char *mw_near(const char *word, const char *(*next)(const void *state, int i),
                    const void *state) {
  const char *best = NULL, *candidate;
  /* A third of the word may be wrong, and never more than three letters. */
  int limit = ((int)strlen(word) + 1) / 3;
  int least = (limit < 1 ? 1 : limit > 3 ? 3 : limit) + 1;
  for (int i = 0; (candidate = next(state, i)); i++) {
    int d = distance(word, candidate);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

static const char *op_name(const void *ctx, int i) {
  const mw_op *op = mw_op_at(ctx, i);
  return op ? op->name : NULL;
}

const char *mw_op_near(const mw_context *ctx, const char *name) {
  return mw_near(name, op_name, ctx);
}

/* ---- kernels ------------------------------------------------------------------------------ */

bool mw_registry_serves(const mw_op_entry *entry, mw_dtype dtype) {
  if (entry->op.flags & MW_VIEW) return true;
  for (int k = 0; k < entry->n_kernels; k++) {
    mw_dtype served = entry->kernels[k].dtype;
    if (entry->kernels[k].aside) continue;
    if (served == MW_NONE || served == dtype) return true;
    if (served == MW_U8 && dtype == MW_BOOL) return true; /* a bool is a byte, 0 or 1 */
  }
  return false;
}

bool mw_kernel_serves(const mw_kernel_entry *entry, mw_dtype dtype, const mw_call *call) {
  const mw_kernel *kernel = &entry->kernel;
  const mw_dtype stored = dtype == MW_BOOL ? MW_U8 : dtype;
  if (entry->dtype != MW_NONE && entry->dtype != stored) return false;
  if (call->backward ? !kernel->backward : !kernel->forward) return false;
  return !kernel->supports || kernel->supports(call);
}

const mw_kernel *mw_registry_kernel(const mw_op_entry *entry, mw_dtype dtype, const mw_call *call) {
  const mw_kernel *best = NULL;
  for (int k = 0; k < entry->n_kernels; k++) {
    const mw_kernel *kernel = &entry->kernels[k].kernel;
    if (!mw_kernel_serves(&entry->kernels[k], dtype, call)) continue;
    if (entry->preferred && strcmp(entry->preferred, kernel->name) == 0) return kernel;
    if (!best && !entry->kernels[k].aside) best = kernel; /* they are sorted */
  }
  return best;
}

/* Whether a kernel comes before another in an entry's list. */
static bool comes_before(const mw_kernel_entry *a, const mw_kernel_entry *b) {
  return a->aside != b->aside ? !a->aside : a->kernel.priority > b->kernel.priority;
}

mw_status mw_entry_add_kernel(mw_op_entry *entry, const mw_kernel_entry *new) {
  mw_kernel_entry *grown =
      realloc(entry->kernels, ((size_t)entry->n_kernels + 1) * sizeof *entry->kernels);
  if (!grown) return mw_no_memory(new->plugin->ctx);
  entry->kernels = grown;
  int at = entry->n_kernels++;
  for (; at > 0 && comes_before(new, &grown[at - 1]); at--) grown[at] = grown[at - 1];
  grown[at] = *new;
  return MW_OK;
}

mw_status mw_kernel_prefer(mw_context *ctx, const char *op, const char *kernel) {
  mw_op_entry *entry = mw_registry_find(ctx, op);
  if (!entry) return mw_set_error(ctx, "no op is named '%s'", op);
  bool known = !kernel;
  for (int k = 0; k < entry->n_kernels && !known; k++)
    known = strcmp(entry->kernels[k].kernel.name, kernel) == 0;
  if (!known) return mw_set_error(ctx, "%s has no kernel named '%s'", op, kernel);
  char *name = kernel ? strdup(kernel) : NULL;
  if (kernel && !name) return mw_no_memory(ctx);
  free(entry->preferred);
  entry->preferred = name;
  mw_cache_clear(ctx); /* programs have chosen already */
  return MW_OK;
}

char *mw_kernel_list(mw_context *ctx, const char *op) {
  const mw_op_entry *entry = mw_registry_find(ctx, op);
  if (!entry) {
    mw_set_error(ctx, "no op is named '%s'", op);
    return NULL;
  }
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out) {
    mw_no_memory(ctx);
    return NULL;
  }
  for (int k = 0; k < entry->n_kernels; k++) {
    const mw_kernel_entry *e = &entry->kernels[k];
    if (mw_is_composed(&entry->op)) continue; /* no functions: the entry counts dtypes */
    fprintf(out, "%s %s %s %d %s%s\n", e->kernel.name,
            e->dtype == MW_NONE ? "every" : mw_dtype_name(e->dtype),
            e->kernel.device ? e->kernel.device : "cpu", e->kernel.priority, e->plugin->origin,
            e->aside ? " (set aside)" : "");
  }
  if (fclose(out) || !text) { /* a short write shows here at the latest */
    free(text);
    mw_no_memory(ctx);
    return NULL;
  }
  return text;
}

/* ---- registering -------------------------------------------------------------------------- */

mw_status mw_host_accept(mw_plugin *plugin, uint32_t abi, const char *version) {
  plugin->abi = abi;
  snprintf(plugin->built_for, sizeof plugin->built_for, "%s", version ? version : "");
  if (abi <= MW_ABI) return MW_OK;
  return mw_set_error(plugin->ctx,
                      "it was built for Moonwalk %s (ABI %u), this is Moonwalk %s (ABI %u): "
                      "build it against this version's header, or update Moonwalk",
                      version ? version : "?", abi, MW_VERSION, (unsigned)MW_ABI);
}

static bool name_valid(const char *name) {
  if (!name || !islower((unsigned char)*name) || strlen(name) > 48) return false;
  for (; *name; name++)
    if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_')
      return false;
  return true;
}

static mw_status check_op(mw_context *ctx, const mw_op *op) {
  if (!name_valid(op->name))
    return mw_set_error(ctx, "an op's name is \"%s\", expected [a-z][a-z0-9_]*",
                        op->name ? op->name : "(null)");
  const bool composed = mw_is_composed(op);
  const char *lacks = op->version < 1           ? "a version of 1 or more"
                      : !op->doc                ? "a doc text"
                      : !op->example            ? "an example"
                      : !op->outputs[0].name    ? "an output"
                      : !op->infer && !composed ? "an infer function"
                      : !op->forward && !(op->flags & MW_VIEW) && !composed
                          ? "a forward function, a composition or a formula"
                      : (op->flags & MW_VIEW) && !op->inputs[0].name ? "an input to view"
                      : op->attrs && !op->attrs_size                 ? "attrs_size"
                                                                     : NULL;
  if (lacks) return mw_set_error(ctx, "op %s lacks %s", op->name, lacks);
  if ((op->flags & MW_VIEW) && ((op->inputs[0].flags & MW_OPTIONAL) || op->outputs[1].name))
    return mw_set_error(ctx, "op %s: a view has one output, and its first input is not optional",
                        op->name);
  if (composed && (op->forward || op->backward || op->gradient || op->derivative[0]))
    return mw_set_error(ctx, "op %s: a composition has no forward, backward or gradient of its own",
                        op->name);
  if (op->formula && op->outputs[1].name)
    return mw_set_error(ctx, "op %s: a formula gives one output; use compose", op->name);
  int n = 0;
  while (n < MW_MAX_ARGS && op->inputs[n].name) n++;
  for (int i = 0; i + 1 < n; i++)
    if (op->inputs[i].flags & MW_VARIADIC)
      return mw_set_error(ctx, "op %s: only the last input can be variadic", op->name);
  if (op->dtype_of < 0 || (op->dtype_of > 0 && op->dtype_of >= n))
    return mw_set_error(ctx, "op %s: dtype_of is %d, but it has %d inputs", op->name, op->dtype_of,
                        n);
  if (mw_attrs_check_schema(ctx, op)) {
    mw_prefix_error(ctx, op->name);
    return MW_FAILED;
  }
  return MW_OK;
}

static mw_op_entry *entry_new(mw_plugin *plugin, const mw_op *op) {
  mw_op_entry *entry = calloc(1, sizeof *entry);
  if (!entry) {
    mw_no_memory(plugin->ctx);
    return NULL;
  }
  entry->op = *op;
  entry->plugin = plugin;
  entry->file = plugin->file;
  for (int i = 0; i < MW_MAX_ARGS && !entry->op.gradient; i++)
    if (op->derivative[i]) entry->op.gradient = mw_formula_gradient;
  while (entry->n_in < MW_MAX_ARGS && op->inputs[entry->n_in].name) {
    const mw_arg *input = &op->inputs[entry->n_in++];
    if (!(input->flags & MW_OPTIONAL)) entry->required = entry->n_in;
    entry->variadic = (input->flags & MW_VARIADIC) != 0;
    entry->takes_key |= (input->flags & MW_KEY) != 0;
  }
  while (entry->n_out < MW_MAX_ARGS && op->outputs[entry->n_out].name) entry->n_out++;
  entry->defaults = calloc(1, op->attrs_size ? op->attrs_size : 1);
  size_t room = strlen(op->name) + sizeof ".backward";
  entry->backward_name = malloc(room);
  if (!entry->defaults || !entry->backward_name) {
    mw_no_memory(plugin->ctx);
    mw_entry_free(entry);
    return NULL;
  }
  snprintf(entry->backward_name, room, "%s.backward", op->name);
  if (mw_attrs_defaults(plugin->ctx, op, entry->defaults, &entry->must_set)) {
    mw_prefix_error(plugin->ctx, op->name);
    mw_entry_free(entry);
    return NULL;
  }
  return entry;
}

mw_op_entry *mw_entry_bare(const mw_op_entry *entry) {
  mw_op_entry *copy = malloc(sizeof *copy);
  if (!copy) return NULL;
  *copy = *entry;
  copy->refs = copy->n_kernels = 0;
  copy->retired = false;
  memset(copy->known, 0, sizeof copy->known);
  copy->last_known = NULL;
  size_t attrs = entry->op.attrs_size;
  copy->defaults = calloc(1, attrs ? attrs : 1);
  copy->kernels = calloc((size_t)entry->n_kernels + 1, sizeof *copy->kernels);
  copy->preferred = entry->preferred ? strdup(entry->preferred) : NULL;
  copy->backward_name = strdup(entry->backward_name);
  if (!copy->defaults || !copy->kernels || !copy->backward_name ||
      (entry->preferred && !copy->preferred)) {
    mw_entry_free(copy);
    return NULL;
  }
  if (attrs) memcpy(copy->defaults, entry->defaults, attrs);
  return copy;
}

mw_op_entry *mw_entry_without(const mw_op_entry *entry, const mw_plugin *plugin) {
  mw_op_entry *copy = mw_entry_bare(entry); /* with room for all */
  for (int k = 0; copy && k < entry->n_kernels; k++)
    if (entry->kernels[k].plugin != plugin) copy->kernels[copy->n_kernels++] = entry->kernels[k];
  return copy;
}

mw_kernel_entry *mw_entry_kernel(const mw_op_entry *entry, const char *name, mw_dtype dtype) {
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].dtype == dtype && strcmp(entry->kernels[k].kernel.name, name) == 0)
      return &entry->kernels[k];
  return NULL;
}

mw_status mw_ops_reserve(mw_context *ctx, mw_op_entry ***ops, int n, int *room, int more) {
  if (n + more <= *room) return MW_OK;
  int grown_room = 2 * n + more;
  mw_op_entry **grown = realloc(*ops, (size_t)grown_room * sizeof *grown);
  if (!grown) return mw_no_memory(ctx);
  *ops = grown;
  *room = grown_room;
  return MW_OK;
}

void mw_ops_insert(mw_op_entry **ops, int *n, mw_op_entry *entry) {
  bool found;
  int place = mw_ops_place(ops, *n, entry->op.name, &found);
  memmove(ops + place + 1, ops + place, (size_t)(*n - place) * sizeof *ops);
  ops[place] = entry;
  ++*n;
}

mw_status mw_plugin_stage(mw_plugin *plugin, mw_op_entry *entry) {
  mw_status status = entry ? mw_ops_reserve(plugin->ctx, &plugin->staged, plugin->n_staged,
                                            &plugin->staged_room, 1)
                           : mw_no_memory(plugin->ctx);
  if (!status) mw_ops_insert(plugin->staged, &plugin->n_staged, entry);
  else if (entry) mw_entry_free(entry);
  return status;
}

/* The same op arrives once for each element type that its file was compiled for. The first one
 * brings the op, all bring a kernel. */
mw_status mw_host_register_op(mw_plugin *plugin, const mw_op *given, size_t op_size,
                              mw_dtype real) {
  mw_context *ctx = plugin->ctx;
  if (!given) return mw_set_error(ctx, "a NULL op was registered");
  if (op_size > sizeof(mw_op) || op_size < offsetof(mw_op, workspace))
    return mw_set_error(ctx, "an op's struct has %zu bytes, this Moonwalk's (%s) has %zu", op_size,
                        MW_VERSION, sizeof(mw_op));
  mw_op op = {0};
  memcpy(&op, given, op_size);
  if (check_op(ctx, &op)) return MW_FAILED;
  mw_op_entry *entry = mw_ops_find(plugin->staged, plugin->n_staged, op.name);
  const mw_op_entry *there = entry ? entry : mw_registry_find(ctx, op.name);
  mw_kernel_entry kernel = {.kernel = {.op = op.name,
                                       .name = "plain",
                                       .forward = op.forward,
                                       .backward = op.backward,
                                       .workspace = op.workspace},
                            .dtype = op.flags & MW_ANY_DTYPE ? MW_NONE : real,
                            .plugin = plugin,
                            .file = plugin->file};
  const bool given_way =
      there && !entry &&
      (there->plugin == plugin->replaces || (plugin->overrides && there->plugin == ctx->shipped));
  if (there && there->plugin != plugin && !given_way)
    return mw_set_error(ctx, "op %s exists already, from %s", op.name, there->plugin->origin);
  for (int k = 0; entry && k < entry->n_kernels; k++) {
    if (strcmp(entry->kernels[k].kernel.name, "plain") != 0) continue;
    if (entry->kernels[k].dtype == MW_NONE) return MW_OK; /* it serves every dtype already */
    if (entry->kernels[k].dtype == real)
      return mw_set_error(ctx, "op %s is registered twice for %s", op.name, mw_dtype_name(real));
  }
  if (!entry) {
    entry = entry_new(plugin, &op);
    if (!entry || mw_plugin_stage(plugin, entry)) return MW_FAILED;
  }
  return mw_entry_add_kernel(entry, &kernel);
}

static void take_out(mw_op_entry *entry, mw_kernel_entry *kernel) {
  const size_t behind = (size_t)(entry->kernels + entry->n_kernels-- - (kernel + 1));
  memmove(kernel, kernel + 1, behind * sizeof *kernel);
}

mw_status mw_host_register_kernel(mw_plugin *plugin, const mw_kernel *given, size_t kernel_size,
                                  mw_dtype real) {
  mw_context *ctx = plugin->ctx;
  if (!given) return mw_set_error(ctx, "a NULL kernel was registered");
  if (kernel_size > sizeof(mw_kernel) || kernel_size < offsetof(mw_kernel, workspace))
    return mw_set_error(ctx, "a kernel's struct has %zu bytes, this Moonwalk's (%s) has %zu",
                        kernel_size, MW_VERSION, sizeof(mw_kernel));
  mw_kernel_entry kernel = {.dtype = real, .plugin = plugin, .file = plugin->file};
  memcpy(&kernel.kernel, given, kernel_size);
  if (!given->op || !given->name || (!given->forward && !given->backward))
    return mw_set_error(ctx, "a kernel lacks its op, its name, or both of its functions");
  if (given->device && strcmp(given->device, "cpu") != 0)
    return mw_set_error(ctx, "kernel %s is for device \"%s\", expected \"cpu\"", given->name,
                        given->device);
  mw_op_entry *staged = mw_ops_find(plugin->staged, plugin->n_staged, given->op);
  const mw_op_entry *entry = staged ? staged : mw_registry_find(ctx, given->op);
  if (!entry || (!staged && entry->plugin == plugin->replaces))
    return mw_set_error(ctx, "kernel %s is for op %s, which does not exist", given->name,
                        given->op);
  if (mw_is_composed(&entry->op))
    return mw_set_error(ctx, "kernel %s is for op %s, which is made of other ops", given->name,
                        given->op);
  const mw_kernel_entry *there = mw_entry_kernel(entry, given->name, real);
  const bool own_before = there && !staged && there->plugin == plugin->replaces;
  const bool overridden = there && plugin->overrides && there->plugin == ctx->shipped;
  if (there && !own_before && !overridden)
    return mw_set_error(ctx, "%s has a kernel %s for %s already, from %s", given->op, given->name,
                        mw_dtype_name(real), there->plugin->origin);
  kernel.aside = own_before && there->aside;
  if (!staged) {
    if (mw_plugin_stage(plugin, mw_entry_without(entry, plugin->replaces))) return MW_FAILED;
    staged = mw_ops_find(plugin->staged, plugin->n_staged, given->op);
  }
  if (overridden) take_out(staged, mw_entry_kernel(staged, given->name, real));
  return mw_entry_add_kernel(staged, &kernel);
}
