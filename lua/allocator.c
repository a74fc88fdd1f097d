/* allocator.c: the memory of the command's Lua state. Lua makes and frees small objects all the time; here
 * they lie in lists by size, which a general allocator is slower at. And it is seen when a tensor's
 * userdata is freed, so that it needs no finalizer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

enum {
  GRAIN = 16,
  CLASSES = 16, /* multiples of GRAIN; what is larger is the system's */
  WATCHED = CLASSES,
  SLAB = 1 << 15, /* what its address is a multiple of */
  TAIL = 16,      /* behind each, for the system's allocator: so one lies beside the other */
  HEAD = 64,
  FEW_SLABS = 128, /* that are not looked through */
};

typedef struct block {
  struct block *next;
} block;

/* Blocks of one class, or watched ones; all zeros before they are used. */
typedef struct slab {
  struct slab *next;
  size_t kind;
  size_t unused; /* blocks in the list, when slabs were last looked through */
} slab;
_Static_assert(sizeof(slab) <= HEAD, "blocks begin behind it");

typedef struct pile {
  block *free;
  char *fresh, *end; /* of the last slab */
} pile;

struct face_allocator {
  pile piles[CLASSES + 1];
  slab *slabs;
  size_t n_slabs, most_slabs; /* look for empty ones when there are so many */
  char *last;                 /* the userdata that was made last, and its size */
  size_t last_size;
  size_t watched_class, offset; /* of a payload in its block; while none is watched CLASSES */
  mw_tensor *(*freed)(void *payload);
  mw_dropped dropped;
  uint64_t frees;      /* so far, of anything */
  bool warns, goes_on; /* see warn() */
};

static size_t class_of(size_t bytes) { return (bytes - 1) / GRAIN; }

/* ---- blocks ------------------------------------------------------------------------------ */

static size_t size_of(const face_allocator *a, size_t kind) {
  return ((kind == WATCHED ? a->watched_class : kind) + 1) * GRAIN;
}

static slab *slab_of(const void *memory) {
  return (slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB - 1));
}

/* That all its blocks are in the list; the one that a pile takes fresh blocks of stays. */
static bool is_empty(const face_allocator *a, const slab *s) {
  return s->unused == (SLAB - TAIL - HEAD) / size_of(a, s->kind) &&
         (const char *)s + SLAB - TAIL != a->piles[s->kind].end;
}

/* Gives empty slabs back to the system, for objects of other sizes. */
static void free_empty_slabs(face_allocator *a) {
  for (slab *s = a->slabs; s; s = s->next) s->unused = 0;
  for (size_t kind = 0; kind <= CLASSES; kind++)
    for (const block *b = a->piles[kind].free; b; b = b->next) slab_of(b)->unused++;
  for (size_t kind = 0; kind <= CLASSES; kind++)
    for (block **at = &a->piles[kind].free; *at;) {
      if (is_empty(a, slab_of(*at))) *at = (*at)->next;
      else at = &(*at)->next;
    }
  for (slab **at = &a->slabs, *s; (s = *at);) {
    if (is_empty(a, s)) {
      *at = s->next;
      a->n_slabs--;
      free(s);
    } else {
      at = &s->next;
    }
  }
  a->most_slabs = 2 * a->n_slabs > FEW_SLABS ? 2 * a->n_slabs : FEW_SLABS;
}

static slab *new_slab(void) {
  void *s;
  if (posix_memalign(&s, SLAB, SLAB - TAIL)) return NULL;
  return memset(s, 0, SLAB - TAIL);
}

static bool add_slab(face_allocator *a, size_t kind) {
  if (a->n_slabs >= a->most_slabs) free_empty_slabs(a);
  slab *s = new_slab();
  if (!s) {
    free_empty_slabs(a);
    s = new_slab();
  }
  if (!s) return false;
  s->next = a->slabs;
  s->kind = kind;
  a->slabs = s;
  a->n_slabs++;
  a->piles[kind].fresh = (char *)s + HEAD;
  a->piles[kind].end = (char *)s + SLAB - TAIL;
  return true;
}

static void *take(face_allocator *a, size_t kind) {
  pile *p = &a->piles[kind];
  block *b = p->free;
  if (b) {
    p->free = b->next;
    return b;
  }
  const size_t size = size_of(a, kind);
  if ((size_t)(p->end - p->fresh) < size && !add_slab(a, kind)) return NULL;
  char *fresh = p->fresh;
  p->fresh += size;
  return fresh;
}

static void give(face_allocator *a, void *memory, size_t class) {
  size_t kind = class;
  if (class == a->watched_class && slab_of(memory)->kind == WATCHED) {
    kind = WATCHED;
    mw_tensor *t = a->freed((char *)memory + a->offset);
    if (t) mw_drop(t, &a->dropped);
  }
  a->frees++;
  block *b = memory;
  b->next = a->piles[kind].free;
  a->piles[kind].free = b;
}

/* ---- what Lua calls ---------------------------------------------------------------------- */

static void *system_resize(face_allocator *a, void *memory, size_t size) {
  void *resized = realloc(memory, size);
  if (resized) return resized;
  free_empty_slabs(a);
  return realloc(memory, size);
}

static void *make(face_allocator *a, size_t type, size_t size) {
  if (size > CLASSES * GRAIN) return system_resize(a, NULL, size);
  const size_t class = class_of(size);
  const bool is_userdata = type == LUA_TUSERDATA;
  char *made = take(a, is_userdata && class == a->watched_class ? WATCHED : class);
  if (is_userdata) a->last = made, a->last_size = size;
  return made;
}

static void *resize(face_allocator *a, void *memory, size_t before, size_t size) {
  const bool was_small = before <= CLASSES * GRAIN, is_small = size <= CLASSES * GRAIN;
  if (!was_small && !is_small) return system_resize(a, memory, size);
  if (was_small && is_small && class_of(before) == class_of(size)) return memory;
  void *moved = make(a, LUA_TNIL, size);
  if (!moved) return NULL;
  memcpy(moved, memory, before < size ? before : size);
  if (was_small) give(a, memory, class_of(before));
  else free(memory);
  return moved;
}

/* A lua_Alloc: of a new object `before` is its type. */
static void *allocate(void *allocator, void *memory, size_t before, size_t size) {
  face_allocator *a = allocator;
  if (!memory) return size ? make(a, before, size) : NULL;
  if (size) return resize(a, memory, before, size);
  if (before > CLASSES * GRAIN) {
    a->frees++;
    free(memory);
  } else if (before) {
    give(a, memory, class_of(before));
  }
  return NULL;
}

mw_dropped *face_watch(lua_State *L, const void *payload, size_t size,
                       mw_tensor *(*freed)(void *payload)) {
  face_allocator *a;
  const char *at = payload;
  if (lua_getallocf(L, (void **)&a) != allocate) return NULL;
  const bool inside = at >= a->last + sizeof(block) && at + size <= a->last + a->last_size;
  if (!inside || a->last_size > CLASSES * GRAIN || a->freed) return NULL;
  a->offset = (size_t)(at - a->last);
  a->watched_class = class_of(a->last_size);
  a->freed = freed;
  return &a->dropped;
}

const uint64_t *face_frees(lua_State *L) {
  face_allocator *a;
  return lua_getallocf(L, (void **)&a) == allocate ? &a->frees : NULL;
}

/* ---- the state --------------------------------------------------------------------------- */

static int panic(lua_State *L) {
  const char *text = lua_tostring(L, -1);
  fprintf(stderr, "moonwalk: error in an unprotected call: %s\n", text ? text : "no text");
  fflush(stderr);
  return 0; /* to abort */
}

/* As of luaL_newstate: a message in pieces; "@on" and "@off" say whether they are shown. */
static void warn(void *allocator, const char *piece, int more) {
  face_allocator *a = allocator;
  if (!a->goes_on && !more && piece[0] == '@') {
    if (strcmp(piece, "@on") == 0) a->warns = true;
    if (strcmp(piece, "@off") == 0) a->warns = false;
    return;
  }
  if (a->warns)
    fprintf(stderr, "%s%s%s", a->goes_on ? "" : "Lua warning: ", piece, more ? "" : "\n");
  a->goes_on = more;
}

lua_State *face_state_new(face_allocator **allocator) {
  *allocator = NULL;
  if (FACE_SANITIZED) return luaL_newstate();
  face_allocator *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  a->watched_class = CLASSES;
  a->most_slabs = FEW_SLABS;
#if LUA_VERSION_NUM >= 505
  lua_State *L = lua_newstate(allocate, a, luaL_makeseed(NULL));
#else
  lua_State *L = lua_newstate(allocate, a);
#endif
  if (!L) {
    face_state_close(NULL, a);
    return NULL;
  }
  lua_atpanic(L, panic);
  lua_setwarnf(L, warn, a);
  *allocator = a;
  return L;
}

void face_state_close(lua_State *L, face_allocator *a) {
  if (L) lua_close(L);
  if (!a) return;
  mw_free_dropped(&a->dropped);
  for (slab *s = a->slabs, *next; s; s = next) {
    next = s->next;
    free(s);
  }
  free(a);
}
