/* registry.c: ops and kernels by name, and the libraries that they come from. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

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

static void entry_free(mw_op_entry *entry) {
  free(entry->defaults);
  free(entry->kernels);
  free(entry->preferred);
  free(entry->backward_name);
  free(entry);
}

static void plugin_free(mw_plugin *plugin) {
  free(plugin->staged);
  free(plugin->origin);
  free(plugin);
}

void mw_plugin_abort(mw_plugin *plugin) {
  for (int i = 0; i < plugin->n_staged; i++) entry_free(plugin->staged[i]);
  plugin_free(plugin);
}

void mw_registry_free(mw_context *ctx) {
  for (int i = 0; i < ctx->n_ops; i++) entry_free(ctx->ops[i]);
  free(ctx->ops);
  free(ctx->op_places);
  for (mw_op_entry *e = ctx->retired, *next; e; e = next) {
    next = e->next;
    entry_free(e);
  }
  for (mw_plugin *p = ctx->plugins, *next; p; p = next) {
    next = p->next;
    if (p->close) p->close(p->library);
    plugin_free(p);
  }
}

/* ---- looking up --------------------------------------------------------------------------- */

/* The place of name in a sorted table, or where it belongs. */
static int place_of(mw_op_entry *const *ops, int n, const char *name, bool *found) {
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

static mw_op_entry *find_in(mw_op_entry *const *ops, int n, const char *name) {
  bool found;
  int place = place_of(ops, n, name, &found);
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

static mw_status reserve_places(mw_context *ctx, int n) {
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

static void fill_places(mw_context *ctx) {
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
    if (!best) best = kernel; /* they are sorted */
  }
  return best;
}

/* To an entry that is not in the registry yet. */
static mw_status add_kernel(mw_op_entry *entry, const mw_kernel_entry *new) {
  mw_kernel_entry *grown =
      realloc(entry->kernels, ((size_t)entry->n_kernels + 1) * sizeof *entry->kernels);
  if (!grown) return mw_no_memory(new->plugin->ctx);
  entry->kernels = grown;
  int at = entry->n_kernels++;
  for (; at > 0 && grown[at - 1].kernel.priority < new->kernel.priority; at--)
    grown[at] = grown[at - 1];
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
    fprintf(out, "%s %s %s %d %s\n", e->kernel.name,
            e->dtype == MW_NONE ? "every" : mw_dtype_name(e->dtype),
            e->kernel.device ? e->kernel.device : "cpu", e->kernel.priority, e->plugin->origin);
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
  for (int i = 0; i < MW_MAX_ARGS && !entry->op.gradient; i++)
    if (op->derivative[i]) entry->op.gradient = mw_formula_gradient;
  while (entry->n_in < MW_MAX_ARGS && op->inputs[entry->n_in].name) {
    const mw_arg *input = &op->inputs[entry->n_in++];
    if (!(input->flags & MW_OPTIONAL)) entry->required = entry->n_in;
    entry->variadic = (input->flags & MW_VARIADIC) != 0;
  }
  while (entry->n_out < MW_MAX_ARGS && op->outputs[entry->n_out].name) entry->n_out++;
  entry->defaults = calloc(1, op->attrs_size ? op->attrs_size : 1);
  size_t room = strlen(op->name) + sizeof ".backward";
  entry->backward_name = malloc(room);
  if (!entry->defaults || !entry->backward_name) {
    mw_no_memory(plugin->ctx);
    entry_free(entry);
    return NULL;
  }
  snprintf(entry->backward_name, room, "%s.backward", op->name);
  if (mw_attrs_defaults(plugin->ctx, op, entry->defaults, &entry->must_set)) {
    mw_prefix_error(plugin->ctx, op->name);
    entry_free(entry);
    return NULL;
  }
  return entry;
}

/* The same entry once more, without the kernels of one plugin. */
static mw_op_entry *entry_clone(const mw_op_entry *entry, const mw_plugin *without) {
  mw_op_entry *copy = malloc(sizeof *copy);
  if (!copy) return NULL;
  *copy = *entry;
  copy->refs = copy->n_kernels = 0;
  size_t attrs = entry->op.attrs_size;
  copy->defaults = calloc(1, attrs ? attrs : 1);
  copy->kernels = calloc((size_t)entry->n_kernels + 1, sizeof *copy->kernels);
  copy->preferred = entry->preferred ? strdup(entry->preferred) : NULL;
  copy->backward_name = strdup(entry->backward_name);
  if (!copy->defaults || !copy->kernels || !copy->backward_name ||
      (entry->preferred && !copy->preferred)) {
    entry_free(copy);
    return NULL;
  }
  if (attrs) memcpy(copy->defaults, entry->defaults, attrs);
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].plugin != without) copy->kernels[copy->n_kernels++] = entry->kernels[k];
  return copy;
}

/* Makes room for so many more in a table. */
static mw_status reserve(mw_context *ctx, mw_op_entry ***ops, int n, int *room, int more) {
  if (n + more <= *room) return MW_OK;
  int grown_room = 2 * n + more;
  mw_op_entry **grown = realloc(*ops, (size_t)grown_room * sizeof *grown);
  if (!grown) return mw_no_memory(ctx);
  *ops = grown;
  *room = grown_room;
  return MW_OK;
}

static void insert(mw_op_entry **ops, int *n, mw_op_entry *entry) {
  bool found;
  int place = place_of(ops, *n, entry->op.name, &found);
  memmove(ops + place + 1, ops + place, (size_t)(*n - place) * sizeof *ops);
  ops[place] = entry;
  ++*n;
}

/* Takes the entry, also when it fails. */
static mw_status stage(mw_plugin *plugin, mw_op_entry *entry) {
  mw_status status =
      entry ? reserve(plugin->ctx, &plugin->staged, plugin->n_staged, &plugin->staged_room, 1)
            : mw_no_memory(plugin->ctx);
  if (!status) insert(plugin->staged, &plugin->n_staged, entry);
  else if (entry) entry_free(entry);
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
  mw_op_entry *entry = find_in(plugin->staged, plugin->n_staged, op.name);
  const mw_op_entry *there = entry ? entry : mw_registry_find(ctx, op.name);
  mw_kernel_entry kernel = {.kernel = {.op = op.name,
                                       .name = "plain",
                                       .forward = op.forward,
                                       .backward = op.backward,
                                       .workspace = op.workspace},
                            .dtype = op.flags & MW_ANY_DTYPE ? MW_NONE : real,
                            .plugin = plugin};
  if (there && there->plugin != plugin && (entry || there->plugin != plugin->replaces))
    return mw_set_error(ctx, "op %s exists already, from %s", op.name, there->plugin->origin);
  for (int k = 0; entry && k < entry->n_kernels; k++) {
    if (strcmp(entry->kernels[k].kernel.name, "plain") != 0) continue;
    if (entry->kernels[k].dtype == MW_NONE) return MW_OK; /* it serves every dtype already */
    if (entry->kernels[k].dtype == real)
      return mw_set_error(ctx, "op %s is registered twice for %s", op.name, mw_dtype_name(real));
  }
  if (!entry) {
    entry = entry_new(plugin, &op);
    if (!entry || stage(plugin, entry)) return MW_FAILED;
  }
  return add_kernel(entry, &kernel);
}

mw_status mw_host_register_kernel(mw_plugin *plugin, const mw_kernel *given, size_t kernel_size,
                                  mw_dtype real) {
  mw_context *ctx = plugin->ctx;
  if (!given) return mw_set_error(ctx, "a NULL kernel was registered");
  if (kernel_size > sizeof(mw_kernel) || kernel_size < offsetof(mw_kernel, workspace))
    return mw_set_error(ctx, "a kernel's struct has %zu bytes, this Moonwalk's (%s) has %zu",
                        kernel_size, MW_VERSION, sizeof(mw_kernel));
  mw_kernel_entry kernel = {.dtype = real, .plugin = plugin};
  memcpy(&kernel.kernel, given, kernel_size);
  if (!given->op || !given->name || (!given->forward && !given->backward))
    return mw_set_error(ctx, "a kernel lacks its op, its name, or both of its functions");
  if (given->device && strcmp(given->device, "cpu") != 0)
    return mw_set_error(ctx, "kernel %s is for device \"%s\", expected \"cpu\"", given->name,
                        given->device);
  mw_op_entry *staged = find_in(plugin->staged, plugin->n_staged, given->op);
  const mw_op_entry *entry = staged ? staged : mw_registry_find(ctx, given->op);
  if (!entry || (!staged && entry->plugin == plugin->replaces))
    return mw_set_error(ctx, "kernel %s is for op %s, which does not exist", given->name,
                        given->op);
  if (mw_is_composed(&entry->op))
    return mw_set_error(ctx, "kernel %s is for op %s, which is made of other ops", given->name,
                        given->op);
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].dtype == real && entry->kernels[k].plugin != plugin->replaces &&
        strcmp(entry->kernels[k].kernel.name, given->name) == 0)
      return mw_set_error(ctx, "%s has a kernel %s for %s already, from %s", given->op, given->name,
                          mw_dtype_name(real), entry->kernels[k].plugin->origin);
  if (!staged) {
    if (stage(plugin, entry_clone(entry, plugin->replaces))) return MW_FAILED;
    staged = find_in(plugin->staged, plugin->n_staged, given->op);
  }
  return add_kernel(staged, &kernel);
}

/* ---- putting it into the registry ---------------------------------------------------------- */

/* Brings the kernels that other plugins gave an op over to what replaces it. */
static mw_status carry_kernels(mw_plugin *plugin, const mw_op_entry *old, mw_op_entry *new) {
  for (int k = 0; k < old->n_kernels; k++) {
    const mw_kernel_entry *kernel = &old->kernels[k];
    if (kernel->plugin == plugin->replaces) continue;
    if (!mw_attrs_same_layout(&old->op, &new->op) || mw_is_composed(&new->op))
      return mw_set_error(plugin->ctx,
                          "op %s has other attributes now, and the kernel %s from %s is made for "
                          "the old ones",
                          new->op.name, kernel->kernel.name, kernel->plugin->origin);
    for (int i = 0; i < new->n_kernels; i++)
      if (new->kernels[i].dtype == kernel->dtype &&
          strcmp(new->kernels[i].kernel.name, kernel->kernel.name) == 0)
        return mw_set_error(plugin->ctx, "%s has a kernel %s already, from %s", new->op.name,
                            kernel->kernel.name, kernel->plugin->origin);
    if (add_kernel(new, kernel)) return MW_FAILED;
  }
  for (int k = 0; k < new->n_kernels && old->preferred && !new->preferred; k++)
    if (strcmp(new->kernels[k].kernel.name, old->preferred) == 0 &&
        !(new->preferred = strdup(old->preferred)))
      return mw_no_memory(plugin->ctx);
  return MW_OK;
}

static bool has_kernel_of(const mw_op_entry *entry, const mw_plugin *plugin) {
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].plugin == plugin) return true;
  return false;
}

/* What becomes of the ops that the replaced plugin had to do with. */
static mw_status stage_rest(mw_plugin *plugin) {
  mw_context *ctx = plugin->ctx;
  const mw_plugin *old = plugin->replaces;
  for (int i = 0; old && i < ctx->n_ops; i++) {
    const mw_op_entry *entry = ctx->ops[i];
    mw_op_entry *staged = find_in(plugin->staged, plugin->n_staged, entry->op.name);
    if (staged && entry->plugin == old && carry_kernels(plugin, entry, staged)) return MW_FAILED;
    if (!staged && entry->plugin != old && has_kernel_of(entry, old) &&
        stage(plugin, entry_clone(entry, old)))
      return MW_FAILED;
  }
  return MW_OK;
}

static void retire(mw_context *ctx, mw_op_entry *entry) {
  entry->retired = true;
  entry->next = ctx->retired;
  ctx->retired = entry;
  if (ctx->adder == entry) ctx->adder = NULL;
}

/* Takes the ops of a plugin out of the registry. */
static void remove_ops(mw_context *ctx, const mw_plugin *plugin) {
  int kept = 0;
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin) retire(ctx, ctx->ops[i]);
    else ctx->ops[kept++] = ctx->ops[i];
  ctx->n_ops = kept;
}

static bool in_use(const mw_context *ctx, const mw_plugin *plugin) {
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin || has_kernel_of(ctx->ops[i], plugin)) return true;
  for (const mw_op_entry *e = ctx->retired; e; e = e->next)
    if (e->plugin == plugin || has_kernel_of(e, plugin)) return true;
  return false;
}

/* Closes what was replaced, once nothing is left that was built with it. Only a commit does this:
 * whoever has found an op may go on using it until then. */
static void sweep(mw_context *ctx) {
  for (mw_op_entry **at = &ctx->retired; *at;) {
    mw_op_entry *entry = *at;
    if (entry->refs) {
      at = &entry->next;
    } else {
      *at = entry->next;
      entry_free(entry);
    }
  }
  for (mw_plugin **at = &ctx->plugins; *at;) {
    mw_plugin *plugin = *at;
    if (!plugin->retired || in_use(ctx, plugin)) {
      at = &plugin->next;
    } else {
      *at = plugin->next;
      if (plugin->close) plugin->close(plugin->library);
      plugin_free(plugin);
    }
  }
}

mw_status mw_plugin_commit(mw_plugin *plugin) {
  mw_context *ctx = plugin->ctx;
  if (stage_rest(plugin) || reserve(ctx, &ctx->ops, ctx->n_ops, &ctx->ops_room, plugin->n_staged) ||
      reserve_places(ctx, ctx->n_ops + plugin->n_staged))
    return MW_FAILED;
  bool replaced = plugin->replaces;
  for (int i = 0; i < plugin->n_staged; i++) {
    mw_op_entry *entry = plugin->staged[i];
    bool found;
    int place = place_of(ctx->ops, ctx->n_ops, entry->op.name, &found);
    if (found) {
      retire(ctx, ctx->ops[place]);
      ctx->ops[place] = entry;
    } else {
      insert(ctx->ops, &ctx->n_ops, entry);
    }
    replaced |= found;
    if ((entry->op.flags & MW_ADDS) && !ctx->adder) ctx->adder = entry;
  }
  plugin->n_staged = 0;
  if (plugin->replaces) {
    remove_ops(ctx, plugin->replaces);
    plugin->replaces->retired = true;
    plugin->replaces = NULL;
  }
  fill_places(ctx);
  plugin->next = ctx->plugins;
  ctx->plugins = plugin;
  if (!replaced) return MW_OK;
  ctx->generation++;
  mw_cache_clear(ctx); /* programs have chosen their kernels already */
  sweep(ctx);
  return MW_OK;
}
