/* load.c: opens a plugin's library and has it register what it brings. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/internal.h"
#include "plugin.h"

/* What the registry holds for a plugin, and closes after the plugin's last op. */
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

static mw_plugin_entry find_entry(void *library) {
  void *symbol = dlsym(library, MW_PLUGIN_SYMBOL);
  mw_plugin_entry entry = NULL;
  memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from an object to a function */
  return entry;
}

static void *open_library(mw_context *ctx, const char *path, mw_plugin_entry *entry) {
  char *full = path_for_dlopen(path);
  if (!full) return mw_no_memory(ctx), NULL;
  void *library = NULL;
  if (cut_off(full)) mw_set_error(ctx, "%s: the file is not complete", path);
  else if (!(library = dlopen(full, RTLD_NOW | RTLD_LOCAL)))
    mw_set_error(ctx, "%s: %s", path, reason(full));
  free(full);
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
static char *names_of(const mw_context *ctx, const mw_plugin *plugin) {
  size_t size = 1;
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin) size += strlen(ctx->ops[i]->op.name) + 1;
  char *names = malloc(size), *end = names;
  if (!names) return NULL;
  *end = '\0';
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin) end += sprintf(end, "%s\n", ctx->ops[i]->op.name);
  return names;
}

/* All or nothing: after a failure nothing of the plugin is left in the registry. */
static mw_status enter(mw_context *ctx, const char *path, mw_plugin_entry entry, loaded *it) {
  mw_plugin *plugin = mw_plugin_begin(ctx, path, it, unload);
  if (!plugin) return MW_FAILED;
  mw_set_error(ctx, "%s", ""); /* to see whether the plugin gives a reason */
  mw_status status = entry(&mw_host_table, plugin);
  if (status && !*mw_error(ctx))
    mw_set_error(ctx, "its %s() failed and gave no reason", MW_PLUGIN_SYMBOL);
  if (!status && !(it->names = names_of(ctx, plugin))) status = mw_no_memory(ctx);
  if (!status) status = mw_plugin_commit(plugin);
  if (!status) return MW_OK;
  mw_prefix_error(ctx, path);
  mw_plugin_abort(plugin);
  return MW_FAILED;
}

mw_status mw_plugin_load(mw_context *ctx, const char *path, const char **names) {
  mw_plugin_entry entry = NULL;
  void *library = open_library(ctx, path, &entry);
  if (!library) return MW_FAILED;
  loaded *it = calloc(1, sizeof *it);
  if (!it) return dlclose(library), mw_no_memory(ctx);
  it->library = library;
  if (enter(ctx, path, entry, it)) {
    unload(it);
    return MW_FAILED;
  }
  if (names) *names = it->names;
  return MW_OK;
}
