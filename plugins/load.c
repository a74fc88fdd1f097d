/* load.c: opens a plugin's library and has it register what it brings. */
#define _GNU_SOURCE /* asprintf */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../graph/internal.h"
#include "plugin.h"

/* What the registry holds for a plugin, and closes after the last that was built with its ops. */
typedef struct loaded {
  void *library;
  char *names; /* of its ops, one a line */
} loaded;

static void unload(void *opened) {
  loaded *it = opened;
  dlclose(it->library);
  free(it->names);
  free(it);
}

/* dlopen() searches the system's folders for a name without a slash, so a file of the current
 * folder is given one. Returns a new string, or NULL. */
static char *path_for_dlopen(const char *path) {
  const char *prefix = strchr(path, '/') ? "" : "./";
  size_t size = strlen(prefix) + strlen(path) + 1;
  char *result = malloc(size);
  if (result) snprintf(result, size, "%s%s", prefix, path);
  return result;
}

/* What went wrong, without the path that dlopen() mostly puts in front: we put it there always. */
static const char *reason(const char *path) {
  const char *text = dlerror();
  if (!text) return "no reason given";
  size_t length = strlen(path);
  if (strncmp(text, path, length) == 0 && strncmp(text + length, ": ", 2) == 0)
    return text + length + 2;
  return text;
}

/* Whether a library that was cut off (a full disk, a broken download) misses bytes that are mapped
 * into memory. dlopen() does not look, and a program dies of touching them. Whatever else may be
 * wrong with the file is left for dlopen() to say. */
static bool cut_off(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) return false;
  ElfW(Ehdr) header;
  bool cut = false, elf = fread(&header, sizeof header, 1, file) == 1 &&
                          memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                          header.e_phentsize == sizeof(ElfW(Phdr));
  long size = elf && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  for (int i = 0; size > 0 && i < header.e_phnum && !cut; i++) {
    ElfW(Phdr) segment;
    size_t at = header.e_phoff + (size_t)i * sizeof segment;
    cut = at > (size_t)size || fseek(file, (long)at, SEEK_SET) != 0 ||
          fread(&segment, sizeof segment, 1, file) != 1 ||
          (segment.p_type == PT_LOAD &&
           (segment.p_filesz > (size_t)size || segment.p_offset > (size_t)size - segment.p_filesz));
  }
  fclose(file);
  return cut;
}

/* The machine that the library is for, where it is not ours, else 0. dlopen() says of such a file
 * that it does not exist. */
static int other_machine(const char *path) {
  extern const ElfW(Ehdr) __ehdr_start
      __attribute__((visibility("hidden"))); /* ours, by the linker */
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  ElfW(Ehdr) header;
  bool elf =
      fread(&header, sizeof header, 1, file) == 1 && memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
  fclose(file);
  return elf && header.e_machine != __ehdr_start.e_machine ? header.e_machine : 0;
}

static mw_plugin_entry find_entry(void *library) {
  void *symbol = dlsym(library, MW_PLUGIN_SYMBOL);
  mw_plugin_entry entry = NULL;
  memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from an object to a function */
  return entry;
}

/* Threads of OpenMP, which a plugin's library may bring with it, spin for milliseconds when they have
 * nothing to do, on the cores that the threads of the next kernel need. GNU's OpenMP reads how long
 * while it is loaded; who has set it or the policy is left to have it so. */
static void *open_calmly(const char *file) {
  const bool ours = !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT");
  if (ours) setenv("GOMP_SPINCOUNT", "2000", 1);
  void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (ours) unsetenv("GOMP_SPINCOUNT");
  return library;
}

/* Opens the library in file, which messages call path. */
static void *open_library(mw_context *ctx, const char *path, const char *file,
                          mw_plugin_entry *entry) {
  void *library = NULL;
  const int machine = other_machine(file);
  if (machine)
    mw_set_error(ctx, "%s: it is built for another processor (ELF machine %d, see elf(5))", path,
                 machine);
  else if (cut_off(file)) mw_set_error(ctx, "%s: the file is not complete", path);
  else if (!(library = open_calmly(file))) mw_set_error(ctx, "%s: %s", path, reason(file));
  if (!library) return NULL;
  *entry = find_entry(library);
  if (*entry) return library;
  mw_set_error(ctx,
               "%s: it is no Moonwalk plugin: it does not define %s; end an op's file with "
               "MW_PLUGIN(&op)",
               path, MW_PLUGIN_SYMBOL);
  dlclose(library);
  return NULL;
}

/* The names of the plugin's ops, one a line. */
static char *names_of(const mw_plugin *plugin) {
  size_t size = 1;
  for (int i = 0; i < plugin->n_staged; i++) size += strlen(plugin->staged[i]->op.name) + 1;
  char *names = malloc(size), *end = names;
  if (!names) return NULL;
  *end = '\0';
  for (int i = 0; i < plugin->n_staged; i++)
    if (plugin->staged[i]->plugin == plugin)
      end += sprintf(end, "%s\n", plugin->staged[i]->op.name);
  return names;
}

/* All or nothing: after a failure nothing of the plugin is in the registry. */
static mw_status enter(mw_context *ctx, const char *path, mw_plugin_entry entry, loaded *it,
                       mw_plugin *replaces, bool overrides) {
  mw_plugin *plugin = mw_plugin_begin(ctx, path, it, unload);
  if (!plugin) return MW_FAILED;
  plugin->replaces = replaces;
  plugin->overrides = overrides;
  mw_set_error(ctx, "%s", ""); /* to see whether the plugin gives a reason */
  mw_status status = entry(&mw_host_table, plugin);
  if (status && !*mw_error(ctx))
    mw_set_error(ctx, "its %s() failed and gave no reason", MW_PLUGIN_SYMBOL);
  if (!status && !(it->names = names_of(plugin))) status = mw_no_memory(ctx);
  if (!status) status = mw_plugin_commit(plugin);
  if (!status) return MW_OK;
  mw_prefix_error(ctx, path);
  mw_plugin_abort(plugin);
  return MW_FAILED;
}

static mw_status load(mw_context *ctx, const char *path, const char *file, mw_plugin *replaces,
                      bool overrides, const char **names) {
  mw_plugin_entry entry = NULL;
  void *library = open_library(ctx, path, file, &entry);
  if (!library) return MW_FAILED;
  loaded *it = calloc(1, sizeof *it);
  if (!it) return dlclose(library), mw_no_memory(ctx);
  it->library = library;
  if (enter(ctx, path, entry, it, replaces, overrides)) {
    unload(it);
    return MW_FAILED;
  }
  if (names) *names = it->names;
  return MW_OK;
}

static mw_status load_anew(mw_context *ctx, const char *path, bool overrides, const char **names) {
  char *file = path_for_dlopen(path);
  if (!file) return mw_no_memory(ctx);
  mw_status status = load(ctx, path, file, NULL, overrides, names);
  free(file);
  return status;
}

mw_status mw_plugin_load(mw_context *ctx, const char *path, const char **names) {
  return load_anew(ctx, path, false, names);
}

mw_status mw_plugin_override(mw_context *ctx, const char *path, const char **names) {
  return load_anew(ctx, path, true, names);
}

/* ---- in place of a plugin that is loaded --------------------------------------------------- */

/* The plugin that was loaded from a library of that path, or NULL and an error. */
static mw_plugin *find_loaded(mw_context *ctx, const char *origin) {
  for (mw_plugin *p = ctx->plugins; p; p = p->next)
    if (!p->retired && p->close == unload && strcmp(p->origin, origin) == 0) return p;
  mw_set_error(ctx, "no plugin is loaded from %s", origin);
  return NULL;
}

static bool copy_bytes(FILE *from, FILE *to) {
  char buffer[1 << 15];
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, from)) > 0)
    if (fwrite(buffer, 1, n, to) != n) return false;
  return !ferror(from);
}

/* A copy of the library under a name that was never used: dlopen() takes a name, or a file, that it
 * has open for the same library. Returns a new string, or NULL and an error. */
static char *copy_library(mw_context *ctx, const char *path) {
  const char *folder = getenv("TMPDIR");
  static int number;
  char *name = NULL;
  FILE *from = fopen(path, "rb"), *to = NULL;
  if (!from) {
    mw_set_error(ctx, "%s: %s", path, strerror(errno));
    return NULL;
  }
  if (asprintf(&name, "%s/moonwalk-%d-%d-XXXXXX", folder && *folder ? folder : "/tmp",
               (int)getpid(), ++number) < 0)
    name = NULL;
  int handle = name ? mkstemp(name) : -1;
  to = handle >= 0 ? fdopen(handle, "wb") : NULL;
  bool copied = to && copy_bytes(from, to);
  if (to) copied &= fclose(to) == 0;
  else if (handle >= 0) close(handle);
  fclose(from);
  if (copied) return name;
  mw_set_error(ctx, "%s: it cannot be copied to %s: %s", path, name ? name : "a temporary file",
               strerror(errno));
  if (handle >= 0) unlink(name);
  free(name);
  return NULL;
}

mw_status mw_plugin_reload(mw_context *ctx, const char *origin, const char *path,
                           const char **names) {
  mw_plugin *old = find_loaded(ctx, origin);
  if (!old) return MW_FAILED;
  char *file = copy_library(ctx, path);
  if (!file) return MW_FAILED;
  mw_status status = load(ctx, path, file, old, old->overrides, names);
  unlink(file);
  free(file);
  return status;
}

mw_status mw_plugin_unload(mw_context *ctx, const char *origin) {
  mw_plugin *old = find_loaded(ctx, origin);
  mw_plugin *nothing = old ? mw_plugin_begin(ctx, origin, NULL, NULL) : NULL;
  if (!nothing) return MW_FAILED;
  nothing->replaces = old;
  nothing->retired = true; /* gone with the commit */
  if (!mw_plugin_commit(nothing)) return MW_OK;
  mw_plugin_abort(nothing);
  return MW_FAILED;
}

/* ---- what is loaded ------------------------------------------------------------------------ */

static void list_ops(FILE *out, const mw_context *ctx, const mw_plugin *plugin) {
  for (int i = 0; i < ctx->n_ops; i++) {
    const mw_op_entry *entry = ctx->ops[i];
    if (entry->plugin == plugin) fprintf(out, "op\t%s\t%d\n", entry->op.name, entry->op.version);
    for (int k = 0; k < entry->n_kernels; k++) {
      const mw_kernel_entry *kernel = &entry->kernels[k];
      if (kernel->plugin == plugin && strcmp(kernel->kernel.name, "plain") != 0)
        fprintf(out, "kernel\t%s\t%s\t%s\n", entry->op.name, kernel->kernel.name,
                mw_dtype_name(kernel->dtype));
    }
  }
}

char *mw_plugin_list(mw_context *ctx) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  for (const mw_plugin *p = ctx->plugins; out && p; p = p->next) {
    if (p->retired || !p->close) continue;
    fprintf(out, "%s\t%s\t%u\t%s\n", p->close == unload ? "library" : "single", p->origin, p->abi,
            p->built_for);
    list_ops(out, ctx, p);
  }
  if (out && fclose(out) == 0 && text) return text;
  free(text);
  mw_no_memory(ctx);
  return NULL;
}

static const mw_kernel_entry *kernel_named(const mw_op_entry *entry, const char *name) {
  for (int k = 0; entry && k < entry->n_kernels; k++)
    if (strcmp(entry->kernels[k].kernel.name, name) == 0) return &entry->kernels[k];
  return NULL;
}

const char *mw_plugin_origin(mw_context *ctx, const char *op, const char *kernel) {
  const mw_op_entry *entry = mw_registry_find(ctx, op);
  if (!kernel) return entry ? entry->plugin->origin : NULL;
  const mw_kernel_entry *it = kernel_named(entry, kernel);
  return it ? it->plugin->origin : NULL;
}

const char *mw_plugin_shipped(mw_context *ctx, const char *op, const char *kernel) {
  const mw_op_entry *entry = mw_registry_original(ctx, op);
  if (!entry) entry = mw_registry_find(ctx, op);
  if (!kernel) return entry ? entry->file : NULL;
  const mw_kernel_entry *it = kernel_named(entry, kernel);
  return it ? it->file : NULL;
}

uint64_t mw_plugin_generation(const mw_context *ctx) { return ctx->generation; }
