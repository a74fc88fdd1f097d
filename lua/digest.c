/* digest.c: core.digest and core.observe: 64 bits that tell whether bytes are the same, of a string
 * or of what each step of a run writes. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

/* One round of MurmurHash3's 64-bit finalizer (Appleby, public domain) for each word: for a given
 * state it maps words one to one, so that a single word that differs always shows. */
static uint64_t mix(uint64_t state, uint64_t word) {
  state = (state ^ word) * 0xff51afd7ed558ccdU;
  return state ^ state >> 32;
}

static uint64_t mix_bytes(uint64_t state, const char *bytes, size_t length) {
  uint64_t word;
  size_t i = 0;
  for (; i + sizeof word <= length; i += sizeof word) {
    memcpy(&word, bytes + i, sizeof word);
    state = mix(state, le64toh(word));
  }
  if (i == length) return state;
  word = 0;
  memcpy(&word, bytes + i, length - i);
  return mix(state, le64toh(word));
}

static void push_digest(lua_State *L, uint64_t state) {
  char text[17];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)mix(state, 0));
  lua_pushstring(L, text);
}

#define FIRST_STATE 0x9e3779b97f4a7c15U

/* core.digest(bytes) -> 16 hexadecimal digits. Words are little-endian; the last one is filled up
 * with zeros, and the length is a word of its own. */
static int core_digest(lua_State *L) {
  size_t length;
  if (lua_type(L, 1) != LUA_TSTRING)
    return face_error(L, "digest: the bytes are %s, expected a string", face_describe(L, 1));
  const char *bytes = lua_tolstring(L, 1, &length);
  push_digest(L, mix_bytes(mix(FIRST_STATE, length), bytes, length));
  return 1;
}

/* ---- of a run's steps -------------------------------------------------------------------- */

typedef struct seen {
  char op[64], origin[96];
  int64_t run;
  int step;
  uint64_t state;
} seen;

static seen *list; /* of the observed context; one at a time is enough */
static size_t n_seen, room;
static bool is_short; /* of memory */

/* The entry of a step, which may have been there for an earlier slice; NULL: no memory. */
static seen *entry_of(const char *op, const char *origin, int64_t run, int step) {
  for (size_t i = n_seen; i > 0 && list[i - 1].run == run; i--)
    if (list[i - 1].step == step && strcmp(list[i - 1].op, op) == 0) return &list[i - 1];
  if (n_seen == room) {
    size_t more = room ? 2 * room : 64;
    seen *grown = realloc(list, more * sizeof *list);
    if (!grown) return NULL;
    list = grown;
    room = more;
  }
  seen *s = &list[n_seen++];
  *s = (seen){.run = run, .step = step, .state = FIRST_STATE};
  snprintf(s->op, sizeof s->op, "%s", op);
  snprintf(s->origin, sizeof s->origin, "%s", origin);
  return s;
}

static void look(void *state, const char *op, const char *origin, int64_t run, int step, int n,
                 const mw_array *written) {
  (void)state;
  seen *s = entry_of(op, origin, run, step);
  is_short |= !s;
  for (int a = 0; a < n && s; a++) {
    if (!written[a].data) continue;
    size_t bytes = (size_t)written[a].count * mw_element_size(written[a].spec.dtype);
    s->state = mix_bytes(mix(s->state, bytes), written[a].data, bytes);
  }
}

/* core.observe(true): from now on takes digests of what steps write. core.observe(false) ends that
 * and gives them, in the order of the steps: {{op, origin, digest}, ...} */
static int core_observe(lua_State *L) {
  const bool on = lua_toboolean(L, 1);
  mw_observe(face_context(L), on ? look : NULL, NULL);
  if (on) {
    n_seen = 0;
    is_short = false;
    return 0;
  }
  if (is_short) return face_error(L, "observe: out of memory");
  lua_createtable(L, (int)n_seen, 0);
  for (size_t i = 0; i < n_seen; i++) {
    lua_createtable(L, 3, 0);
    lua_pushstring(L, list[i].op);
    lua_rawseti(L, -2, 1);
    lua_pushstring(L, list[i].origin);
    lua_rawseti(L, -2, 2);
    push_digest(L, list[i].state);
    lua_rawseti(L, -2, 3);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  free(list);
  list = NULL;
  n_seen = room = 0;
  return 1;
}

void face_open_digest(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"digest", core_digest}, {"observe", core_observe}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
