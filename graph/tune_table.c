/* tune_table.c: the table of what kernels took, and its file: one call a line, with tabs between
 * the call, the machine, and each kernel with its time. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "tune.h"

#define FIRST_LINE "moonwalk kernels 1"
#define LARGEST (64 << 20) /* bytes of a file */

void mw_tuner_free(mw_tuner *t) {
  if (!t) return;
  for (int i = 0; i < t->n; i++) free(t->tuned[i].call);
  free(t->tuned);
  free(t->file);
  free(t);
}

/* ---- the table ------------------------------------------------------------------------------ */

static int place_of(const mw_tuner *t, const char *call, const char *machine) {
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->tuned[i].call, call) == 0 &&
        (!machine || strcmp(t->tuned[i].machine, machine) == 0))
      return i;
  return -1;
}

const mw_tuned *mw_tuned_find(const mw_tuner *t, const char *call, const char *machine) {
  const int i = place_of(t, call, machine);
  return i < 0 ? NULL : &t->tuned[i];
}

mw_status mw_tuned_put(mw_context *ctx, mw_tuner *t, const char *call, const char *machine,
                       const char *times) {
  const size_t a = strlen(call) + 1, b = strlen(machine) + 1, c = strlen(times) + 1;
  int i = place_of(t, call, machine);
  if (i < 0 && t->n == t->room) {
    const int room = t->room ? 2 * t->room : 64;
    mw_tuned *grown = realloc(t->tuned, (size_t)room * sizeof *grown);
    if (!grown) return mw_no_memory(ctx);
    t->tuned = grown;
    t->room = room;
  }
  char *text = malloc(a + b + c);
  if (!text) return mw_no_memory(ctx);
  memcpy(text, call, a);
  memcpy(text + a, machine, b);
  memcpy(text + a + b, times, c);
  if (i < 0) i = t->n++;
  else free(t->tuned[i].call);
  mw_tuned *line = &t->tuned[i];
  line->call = text;
  line->machine = text + a;
  line->times = text + a + b;
  return MW_OK;
}

/* Reads "NAME=TIME" at `at`, up to a tab or the end, which it returns; NULL when it is none. */
static const char *read_time(const char *at, size_t *id_length, int64_t *time) {
  const char *end = at + strcspn(at, "\t"), *sign = memchr(at, '=', (size_t)(end - at));
  if (!sign || sign == at || !memchr(at, '@', (size_t)(sign - at))) return NULL;
  *id_length = (size_t)(sign - at);
  *time = MW_SLOW;
  if (sign[1] == '-' && sign + 2 == end) return end;
  if (sign + 1 == end || end - sign > 19) return NULL;
  *time = 0;
  for (const char *digit = sign + 1; digit < end; digit++) {
    if (*digit < '0' || *digit > '9') return NULL;
    *time = *time * 10 + (*digit - '0');
  }
  return end;
}

int64_t mw_tuned_time(const mw_tuned *line, const char *id, bool whole) {
  const size_t length = whole ? strlen(id) : strcspn(id, "@");
  size_t n;
  int64_t time;
  for (const char *at = line->times; at; at = *at ? at + 1 : NULL) {
    const char *start = at;
    if (!(at = read_time(at, &n, &time))) break;
    if (strncmp(start, id, length) == 0 && (whole ? n == length : start[length] == '@'))
      return time;
  }
  return MW_UNKNOWN;
}

void mw_tuned_escape(FILE *out, const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text <= ' ' || strchr("=%@", *text))
      fprintf(out, "%%%02X", (unsigned char)*text);
    else fputc(*text, out);
}

/* ---- its file -------------------------------------------------------------------------------- */

static void note(mw_tuner *t, const char *format, ...) MW_PRINTF(2, 3);
static void note(mw_tuner *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(t->note, sizeof t->note, format, args);
  va_end(args);
}

/* A line as it stands in the file. The table takes it unless it has one for the same already. */
static bool take_line(mw_context *ctx, mw_tuner *t, char *line) {
  char *machine = strchr(line, '\t'), *times = machine ? strchr(machine + 1, '\t') : NULL;
  if (!times || machine == line || times == machine + 1) return false;
  *machine++ = *times++ = '\0';
  size_t length;
  int64_t time;
  for (const char *at = times; at; at = *at ? at + 1 : NULL)
    if (!(at = read_time(at, &length, &time))) return false;
  return place_of(t, line, machine) >= 0 || !mw_tuned_put(ctx, t, line, machine, times);
}

/* What is wrong with the file as a whole, or NULL. An empty file is as good as none. */
static const char *foreign(FILE *file) {
  struct stat is;
  char first[sizeof FIRST_LINE + 1];
  if (fstat(fileno(file), &is) != 0 || !S_ISREG(is.st_mode)) return "it is no file";
  if (is.st_size > LARGEST) return "it is too large";
  if (is.st_size == 0) return NULL;
  if (fgets(first, sizeof first, file) && strcmp(first, FIRST_LINE "\n") == 0) return NULL;
  return "its first line is not '" FIRST_LINE "'";
}

bool mw_tuner_read(mw_context *ctx, mw_tuner *t) {
  FILE *file = fopen(t->file, "re");
  if (!file) {
    if (errno != ENOENT) note(t, "%s is not read: %s", t->file, strerror(errno));
    return false;
  }
  const char *why = foreign(file);
  t->foreign = why;
  if (why) note(t, "%s is left alone: %s", t->file, why);
  char *line = NULL;
  size_t room = 0;
  int number = 1, bad = 0, first_bad = 0;
  for (ssize_t n; !why && (n = getline(&line, &room, file)) > 0;) {
    number++;
    const bool whole = line[n - 1] == '\n' && strlen(line) == (size_t)n;
    if (whole) line[n - 1] = '\0';
    if (whole && take_line(ctx, t, line)) continue;
    if (!bad++) first_bad = number;
  }
  if (bad)
    note(t, "%s: line %d is no call with its kernels; %d such lines are ignored", t->file,
         first_bad, bad);
  free(line);
  fclose(file);
  return !why;
}

static bool write_table(const mw_tuner *t, const char *path) {
  FILE *file = fopen(path, "we");
  if (!file) return false;
  fputs(FIRST_LINE "\n", file);
  for (int i = 0; i < t->n; i++)
    fprintf(file, "%s\t%s\t%s\n", t->tuned[i].call, t->tuned[i].machine, t->tuned[i].times);
  const bool wrong = ferror(file);
  return fclose(file) == 0 && !wrong;
}

/* What another process has put there since is kept; the file is replaced as a whole. */
void mw_tuner_write(mw_context *ctx, mw_tuner *t) {
  t->dirty = false;
  if (!t->file) return;
  mw_tuner_read(ctx, t);
  if (t->foreign) return;
  const size_t size = strlen(t->file) + 32;
  char *path = malloc(size);
  if (!path) return;
  snprintf(path, size, "%s.%ld.new", t->file, (long)getpid());
  if (!write_table(t, path) || rename(path, t->file) != 0) {
    note(t, "%s is not written: %s", t->file, strerror(errno));
    unlink(path);
  }
  free(path);
}
