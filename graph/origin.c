/* origin.c: what messages say of places: where the user built a tensor, and which axis is meant. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define MOST_ORIGINS (1 << 16) /* lines that can be kept; code that writes code may have more */

static uint64_t hash_of(const char *text) { /* FNV-1a */
  uint64_t hash = UINT64_C(14695981039346656037);
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
  return hash ^ hash >> 32;
}

/* The place of a text in a table of 2^k places that is never full, or the free one for it. */
static char **place_of(char **texts, int room, const char *text) {
  size_t mask = (size_t)room - 1, i = (size_t)hash_of(text) & mask;
  while (texts[i] && strcmp(texts[i], text) != 0) i = (i + 1) & mask;
  return &texts[i];
}

static bool grow(mw_origins *o) {
  int room = o->room ? 2 * o->room : 64;
  char **texts = calloc((size_t)room, sizeof *texts);
  if (!texts) return false;
  for (int i = 0; i < o->room; i++)
    if (o->texts[i]) *place_of(texts, room, o->texts[i]) = o->texts[i];
  free(o->texts);
  o->texts = texts;
  o->room = room;
  return true;
}

const char *mw_origin(mw_context *ctx, const char *text) {
  mw_origins *o = &ctx->origins;
  if (!text || !*text) return "";
  if (2 * o->n >= o->room && !grow(o)) return "";
  char **place = place_of(o->texts, o->room, text);
  if (!*place && o->n < MOST_ORIGINS && (*place = strdup(text))) o->n++;
  return *place ? *place : "";
}

const char *mw_origin_set(mw_context *ctx, const char *origin) {
  const char *before = ctx->origin;
  ctx->origin = origin;
  return before;
}

void mw_origins_free(mw_origins *origins) {
  for (int i = 0; i < origins->room; i++) free(origins->texts[i]);
  free(origins->texts);
}

void mw_axes_count_from(mw_context *ctx, int first) { ctx->first_axis = first; }

mw_status mw_host_expect_axis(const mw_infer *it, const char *name, int64_t *axis, int rank) {
  char text[MW_SPEC_TEXT], of[MW_SPEC_TEXT + 64] = "";
  const int first = it->context->first_axis;
  const long long given = (long long)(*axis < 0 ? *axis : *axis + first);
  if (*axis < 0) *axis += rank;
  if (*axis >= 0 && *axis < rank) return MW_OK;
  if (it->n_in > 0 && mw_present(&it->in[0]))
    snprintf(of, sizeof of, " for %s %s", it->op->inputs[0].name, mw_spec_text(&it->in[0], text));
  if (rank == 0)
    return mw_set_error(it->context, "%s %lld is out of range%s: there are no axes", name, given,
                        of);
  if (rank == 1)
    return mw_set_error(it->context, "%s %lld is out of range%s: expected %d, or -1", name, given,
                        of, first);
  return mw_set_error(it->context,
                      "%s %lld is out of range%s: expected %d to %d, or -1 to -%d from the end",
                      name, given, of, first, first + rank - 1, rank);
}
