/* loader.c: goes over a data set in batches, which threads of its own may make ahead of time.
 *
 * A batch depends on the data, the order, the key and its place alone, so that it has the same
 * bits whoever makes it and when. The threads work on bytes: the tensors of a batch are made by the
 * caller's thread before they are filled, and they meet no Lua state and no graph. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../graph/parallel.h"
#include "../graph/philox.h"
#include "augment.h"
#include "batch.h"

#define LOADER "moonwalk.loader"
enum { MOST_AHEAD = 64, MOST_WORKERS = 16, MOST_STAGES = 16 };

typedef enum slot_state { FREE, WAITING, FILLING, FULL } slot_state;

/* A batch that is made ahead of time. */
typedef struct slot {
  slot_state state;
  mw_tensor *x, *y; /* owned; y is NULL where the set has none */
  char *x_to, *y_to;
  int64_t first, count; /* rows of the order */
} slot;

typedef struct loader {
  /* Threads read these without a lock: they stay as they are from the first batch on. */
  mw_tensor *x, *y, *order; /* owned */
  const char *x_from, *y_from;
  const int64_t *rows; /* NULL: the set's own order */
  mw_spec x_spec, y_spec;
  int64_t samples, size;
  bool drop_last;
  batch_conversion widen, finish; /* to what is augmented, or to the batch; to the batch then */
  int64_t x_width, y_width;       /* elements of a row of the set */
  int64_t out_width;              /* elements of a row of the batch */
  int n_stages;
  augment stages[MOST_STAGES];
  augment_size sizes[MOST_STAGES + 1];
  uint64_t key, place; /* of the first row of the order, as the key counts */
  float *scratch;      /* `each` floats for every worker */
  size_t each, image;

  int64_t next; /* the first row of the order that no slot has yet */
  int ahead;    /* slots */
  int n_workers;
  pthread_t workers[MOST_WORKERS];
  int started;
  pid_t process; /* in which they are: a process that was forked has none of them */
  int oldest;    /* the slot that is handed out next */
  slot slots[MOST_AHEAD];

  bool has_lock;
  pthread_mutex_t lock; /* guards the states of slots, `stop` and `numbered` */
  pthread_cond_t filled, wanted;
  bool stop;
  int numbered; /* workers that have taken a number */
} loader;

static loader *check_loader(lua_State *L) {
  loader *l = luaL_testudata(L, 1, LOADER);
  if (!l) face_error(L, "batches: argument 1 is %s, expected a loader", face_describe(L, 1));
  return l;
}

/* ---- making a batch ------------------------------------------------------------------------ */

/* A row's image through all stages. Two images of scratch are written in turn. */
static void fill_image(const loader *l, int64_t place, const char *from, char *to, float *scratch) {
  uint32_t words[4];
  mw_philox(l->key, l->place + (uint64_t)place, words);
  const uint64_t key = (uint64_t)words[1] << 32 | words[0];
  float *image = scratch, *other = scratch + l->image;
  batch_convert(&l->widen, l->x_width, from, image);
  for (int s = 0; s < l->n_stages; s++) {
    augment_image(&l->stages[s], l->sizes[s], key, s, image, other, scratch + 2 * l->image);
    float *kept = image;
    image = other;
    other = kept;
  }
  batch_convert(&l->finish, l->out_width, image, to);
}

/* Fills row i of a batch. */
static void fill_row(const loader *l, const slot *s, int64_t i, float *scratch) {
  const int64_t place = s->first + i, row = l->rows ? l->rows[place] : place;
  if (l->x_width) {
    const size_t x_bytes = mw_dtype_size(l->widen.from), to_bytes = mw_dtype_size(l->x_spec.dtype);
    const char *from = l->x_from + (size_t)(row * l->x_width) * x_bytes;
    char *to = s->x_to + (size_t)(i * l->out_width) * to_bytes;
    if (l->n_stages) fill_image(l, place, from, to, scratch);
    else batch_convert(&l->widen, l->x_width, from, to);
  }
  const size_t y_bytes = (size_t)l->y_width * mw_dtype_size(l->y_spec.dtype);
  if (y_bytes) memcpy(s->y_to + (size_t)i * y_bytes, l->y_from + (size_t)row * y_bytes, y_bytes);
}

static void *work(void *arg) {
  loader *l = arg;
  pthread_mutex_lock(&l->lock);
  float *scratch = l->scratch + (size_t)l->numbered++ * l->each;
  while (!l->stop) {
    slot *s = NULL;
    for (int i = 0; i < l->ahead && !s; i++)
      if (l->slots[(l->oldest + i) % l->ahead].state == WAITING)
        s = &l->slots[(l->oldest + i) % l->ahead];
    if (!s) {
      pthread_cond_wait(&l->wanted, &l->lock);
      continue;
    }
    s->state = FILLING;
    pthread_mutex_unlock(&l->lock);
    for (int64_t i = 0; i < s->count; i++) fill_row(l, s, i, scratch);
    pthread_mutex_lock(&l->lock);
    s->state = FULL;
    pthread_cond_signal(&l->filled);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

/* ---- handing it out ------------------------------------------------------------------------ */

/* Signals are for the thread that runs Lua. */
static bool start(loader *l) {
  l->process = getpid();
  sigset_t all, kept;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &kept);
  while (l->started < l->n_workers && pthread_create(&l->workers[l->started], NULL, work, l) == 0)
    l->started++;
  pthread_sigmask(SIG_SETMASK, &kept, NULL);
  return l->started > 0;
}

/* Ends the threads and gives back what is held. */
static void stop(loader *l) {
  if (l->has_lock && l->process == getpid()) {
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->wanted);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->started; i++) pthread_join(l->workers[i], NULL);
    l->started = 0;
    pthread_cond_destroy(&l->filled);
    pthread_cond_destroy(&l->wanted);
    pthread_mutex_destroy(&l->lock);
    l->has_lock = false;
  }
  for (int i = 0; i < MOST_AHEAD; i++) {
    mw_release(l->slots[i].x);
    mw_release(l->slots[i].y);
    l->slots[i] = (slot){.state = FREE};
  }
  mw_release(l->x);
  mw_release(l->y);
  mw_release(l->order);
  l->x = l->y = l->order = NULL;
  l->next = l->samples;
}

static mw_status blank(mw_context *ctx, mw_spec spec, int64_t rows, mw_tensor **t, char **to) {
  spec.shape[0] = rows;
  *t = mw_constant(ctx, &spec, NULL);
  *to = *t && mw_spec_count(&spec) > 0 ? mw_leaf_write(*t) : NULL;
  return *t && (*to || mw_spec_count(&spec) == 0) ? MW_OK : MW_FAILED;
}

/* Takes the next rows into a free slot, with tensors to be filled; 0 when there are none. */
static int take(lua_State *L, loader *l, slot *s) {
  mw_context *ctx = face_context(L);
  const int64_t left = l->samples - l->next;
  s->count = left < l->size ? left : l->size;
  if (s->count < (l->drop_last ? l->size : 1)) return 0;
  s->first = l->next;
  if (blank(ctx, l->x_spec, s->count, &s->x, &s->x_to) ||
      (l->y && blank(ctx, l->y_spec, s->count, &s->y, &s->y_to))) {
    stop(l);
    face_raise(L);
  }
  l->next += s->count;
  return 1;
}

/* Gives every free slot something to do. */
static void queue(lua_State *L, loader *l) {
  for (int i = 0; i < l->ahead; i++) {
    slot *s = &l->slots[(l->oldest + i) % l->ahead];
    pthread_mutex_lock(&l->lock);
    const bool is_free = s->state == FREE;
    pthread_mutex_unlock(&l->lock);
    if (!is_free) continue;
    if (!take(L, l, s)) return;
    pthread_mutex_lock(&l->lock);
    s->state = WAITING;
    pthread_cond_signal(&l->wanted);
    pthread_mutex_unlock(&l->lock);
  }
}

enum { GRAIN = 4 }; /* images that a thread takes at a time */

typedef struct filling {
  const loader *l;
  const slot *s;
} filling;

static void fill_chunk(void *arg, int64_t chunk, int worker) {
  const filling *f = arg;
  const int64_t end = (chunk + 1) * GRAIN < f->s->count ? (chunk + 1) * GRAIN : f->s->count;
  for (int64_t i = chunk * GRAIN; i < end; i++)
    fill_row(f->l, f->s, i, f->l->scratch + (size_t)worker * f->l->each);
}

/* Here and now, with the threads of the context where that is worth while. There may be more of
 * them by now than there is scratch for. */
static void fill_now(mw_context *ctx, const loader *l, const slot *s) {
  filling f = {l, s};
  const int64_t chunks = (s->count + GRAIN - 1) / GRAIN;
  if (l->n_stages && mw_threads(ctx) <= l->n_workers) mw_host_parallel(ctx, chunks, fill_chunk, &f);
  else
    for (int64_t c = 0; c < chunks; c++) fill_chunk(&f, c, 0);
}

/* loader:next() -> x, y or nil, first; nil at the end. first counts from 1. */
static int loader_next(lua_State *L) {
  loader *l = check_loader(L);
  if (!l->x) return 0;
  if (l->started && l->process != getpid())
    return face_error(L, "batches: the threads that make them are in another process");
  slot now = {.state = FREE};
  if (l->started) {
    queue(L, l);
    slot *s = &l->slots[l->oldest];
    pthread_mutex_lock(&l->lock);
    while (s->state == WAITING || s->state == FILLING) pthread_cond_wait(&l->filled, &l->lock);
    now = *s;
    *s = (slot){.state = FREE};
    l->oldest = (l->oldest + 1) % l->ahead;
    pthread_mutex_unlock(&l->lock);
    if (now.state == FREE) return stop(l), 0; /* nothing was left to take */
  } else {
    if (!take(L, l, &l->slots[0])) return stop(l), 0;
    now = l->slots[0];
    l->slots[0] = (slot){.state = FREE};
    fill_now(face_context(L), l, &now);
  }
  /* face_push takes the one; the other waits where an error leaves it to be released. */
  l->slots[MOST_AHEAD - 1].y = now.y;
  face_push(L, now.x);
  l->slots[MOST_AHEAD - 1].y = NULL;
  if (now.y) face_push(L, now.y);
  else lua_pushnil(L);
  lua_pushinteger(L, now.first + 1);
  if (l->started) queue(L, l); /* the next one is made while this one is used */
  return 3;
}

static int loader_close(lua_State *L) {
  loader *l = luaL_testudata(L, 1, LOADER);
  if (l) stop(l);
  return 0;
}

/* ---- setting one up ------------------------------------------------------------------------ */

/* A field of the table on top of the stack. */
static double number(lua_State *L, const char *name, double fallback) {
  lua_getfield(L, -1, name);
  const double value = lua_isnil(L, -1) ? fallback : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

static int64_t integer(lua_State *L, const char *name, int64_t fallback) {
  lua_getfield(L, -1, name);
  const int64_t value = lua_isnil(L, -1) ? fallback : lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool boolean(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static augment_range range(lua_State *L, const char *name, float fallback) {
  augment_range r = {fallback, fallback};
  if (lua_getfield(L, -1, name) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    r = (augment_range){(float)lua_tonumber(L, -2), (float)lua_tonumber(L, -1)};
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  return r;
}

/* The list of that name, of 1 or `channels` numbers, as `channels` floats; NULL if there is none.
 * They belong to the loader at index `owner`. */
static float *per_channel(lua_State *L, const char *name, int64_t channels, int owner) {
  float *values = NULL;
  if (lua_getfield(L, -1, name) == LUA_TTABLE) {
    const int64_t n = (int64_t)lua_rawlen(L, -1);
    if (n != 1 && n != channels)
      face_error(L, "augment: normalise has %lld numbers, the data has %lld channels", (long long)n,
                 (long long)channels);
    values = lua_newuserdatauv(L, (size_t)channels * sizeof *values, 0);
    for (int64_t c = 0; c < channels; c++) {
      lua_rawgeti(L, -2, n == 1 ? 1 : c + 1);
      values[c] = (float)lua_tonumber(L, -1);
      lua_pop(L, 1);
    }
    lua_getiuservalue(L, owner, 1);
    lua_insert(L, -2);
    luaL_ref(L, -2);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return values;
}

/* One stage from the table on top of the stack, as moonwalk.data.augment has checked it. */
static augment read_stage(lua_State *L, augment_size in, int owner) {
  const float quarter = (float)(in.height > in.width ? in.height : in.width) / 4;
  augment a = {.moves = boolean(L, "moves"),
               .shift_x = range(L, "shift_x", 0),
               .shift_y = range(L, "shift_y", 0),
               .rotate = range(L, "rotate", 0),
               .scale = range(L, "scale", 1),
               .shear = range(L, "shear", 0),
               .elastic = (float)number(L, "elastic", 0),
               .spacing = (float)number(L, "elastic_spacing", quarter > 1 ? quarter : 1),
               .edge = boolean(L, "edge"),
               .fill = (float)number(L, "fill", 0),
               .pad = integer(L, "pad", 0),
               .crop_height = integer(L, "crop_height", 0),
               .crop_width = integer(L, "crop_width", 0),
               .center = boolean(L, "center"),
               .flip = (float)number(L, "flip", 0),
               .flip_vertical = (float)number(L, "flip_vertical", 0),
               .noise = (float)number(L, "noise", 0),
               .erase = (float)number(L, "erase", 0),
               .erase_area = range(L, "erase_area", 0)};
  a.mean = per_channel(L, "mean", in.channels, owner);
  a.inverse = per_channel(L, "inverse", in.channels, owner);
  if (a.pad && a.crop_height == 0) a.crop_height = in.height, a.crop_width = in.width;
  return a;
}

/* What a row of the set is to an augmentation: an image, or features as channels of one pixel. */
static augment_size size_of(const mw_spec *x) {
  const int64_t *n = x->shape;
  switch (x->rank) {
    case 1: return (augment_size){1, 1, 1};
    case 2: return (augment_size){n[1], 1, 1};
    case 3: return (augment_size){1, n[1], n[2]};
    default: return (augment_size){n[1], n[2], n[3]};
  }
}

/* Reads the list of stages at index, and makes the batch's shape what comes out. */
static void read_stages(lua_State *L, loader *l, int index, int owner) {
  char text[MW_SPEC_TEXT];
  const mw_spec *x = mw_tensor_spec(l->x);
  const int64_t n = luaL_len(L, index);
  if (n > MOST_STAGES)
    face_error(L, "augment: there are %lld of them, at most %d are possible", (long long)n,
               MOST_STAGES);
  if (n > 0 && x->rank > 4)
    face_error(L, "augment: x is %s, expected [n,channels,height,width] or less",
               mw_spec_text(x, text));
  l->sizes[0] = size_of(x);
  for (int s = 0; s < n; s++) {
    lua_geti(L, index, s + 1);
    const augment_size in = l->sizes[s];
    augment *a = &l->stages[s];
    *a = read_stage(L, in, owner);
    if (x->rank < 3 &&
        (a->moves || a->crop_height || a->flip > 0 || a->flip_vertical > 0 || a->erase > 0))
      face_error(L,
                 "augment: x is %s; moving, cropping, flipping and erasing need images, "
                 "[n,channels,height,width] or [n,height,width]",
                 mw_spec_text(x, text));
    if (a->crop_height > in.height + 2 * a->pad || a->crop_width > in.width + 2 * a->pad)
      face_error(L, "augment: crop is {%lld, %lld}, expected at most {%lld, %lld}: the image%s",
                 (long long)a->crop_height, (long long)a->crop_width,
                 (long long)(in.height + 2 * a->pad), (long long)(in.width + 2 * a->pad),
                 a->pad ? " with its padding" : "; pad adds a border");
    if (a->moves && (in.height + 3) * (in.width + 3) > INT32_MAX)
      face_error(L, "augment: x is %s; an image of more than 2^31 pixels is not moved",
                 mw_spec_text(x, text));
    l->sizes[s + 1] = augment_output(a, in);
    lua_pop(L, 1);
  }
  l->n_stages = (int)n;
  if (n > 0 && x->rank >= 3) {
    l->x_spec.shape[x->rank - 2] = l->sizes[n].height;
    l->x_spec.shape[x->rank - 1] = l->sizes[n].width;
  }
}

/* Scratch for every worker, which belongs to the loader at index `owner`. */
static void get_scratch(lua_State *L, loader *l, int owner) {
  size_t most = 0;
  for (int s = 0; l->n_stages && s <= l->n_stages; s++) {
    const augment_size z = l->sizes[s];
    const size_t floats = (size_t)(z.channels * z.height * z.width);
    l->image = floats > l->image ? floats : l->image;
  }
  for (int s = 0; s < l->n_stages; s++) {
    const size_t floats = augment_scratch(&l->stages[s], l->sizes[s]);
    most = floats > most ? floats : most;
  }
  l->each = 2 * l->image + most + 16; /* workers keep off each other's cache lines */
  l->scratch = lua_newuserdatauv(L, (size_t)l->n_workers * l->each * sizeof(float), 0);
  lua_setiuservalue(L, owner, 2);
}

static void check_rows(lua_State *L, const loader *l) {
  const int64_t rows = mw_tensor_spec(l->x)->shape[0];
  const int64_t others = l->y ? mw_tensor_spec(l->y)->shape[0] : rows;
  if (others != rows)
    face_error(L, "batches: x has %lld rows and y %lld", (long long)rows, (long long)others);
  for (int64_t i = 0; l->rows && i < l->samples; i++)
    if (l->rows[i] < 0 || l->rows[i] >= rows)
      face_error(L, "batches: the order holds %lld, expected 0 to %lld", (long long)l->rows[i],
                 (long long)rows - 1);
}

/* A field that is a tensor of rank 1 or more, with its bytes, or nil; the loader gets a
 * reference. */
static const void *take_tensor(lua_State *L, const char *name, mw_tensor **to) {
  const void *data = NULL;
  if (lua_getfield(L, 1, name) != LUA_TNIL) {
    mw_tensor *t = face_check(L, -1, "batches");
    if (mw_tensor_spec(t)->rank == 0) face_error(L, "batches: %s is a scalar", name);
    if (mw_tensor_is_parameter(t))
      face_error(L, "batches: %s is a parameter, whose value may change meanwhile", name);
    data = face_data(L, t);
    *to = mw_retain(t);
  }
  lua_pop(L, 1);
  return data;
}

static int64_t row_width(const mw_spec *spec) {
  int64_t width = 1;
  for (int axis = 1; axis < spec->rank; axis++) width *= spec->shape[axis];
  return width;
}

static void read_data(lua_State *L, loader *l) {
  l->x_from = take_tensor(L, "x", &l->x);
  if (!l->x) face_error(L, "batches: there is no x");
  l->y_from = take_tensor(L, "y", &l->y);
  l->rows = take_tensor(L, "order", &l->order);
  l->x_spec = *mw_tensor_spec(l->x);
  if (l->y) l->y_spec = *mw_tensor_spec(l->y);
  if (l->order && mw_tensor_spec(l->order)->dtype != MW_I64)
    face_error(L, "batches: the order is no i64[n]");
  l->samples = mw_tensor_spec(l->order ? l->order : l->x)->shape[0];
  l->x_width = row_width(&l->x_spec);
  l->y_width = l->y ? row_width(&l->y_spec) : 0;
  check_rows(L, l);
}

/* core.loader {x =, y =, order =, first =, size =, drop_last =, dtype =, scale =, stages =, seed =,
 * epoch =, place =, prefetch =, workers =} -> loader. first counts from 0; the stages are the
 * augmentations that moonwalk.data.augment has checked; place is added to a row's place in the
 * order where that decides what is drawn. */
static int loader_new(lua_State *L) {
  if (!lua_istable(L, 1)) return face_error(L, "batches: expected a table");
  lua_settop(L, 1);
  loader *l = lua_newuserdatauv(L, sizeof *l, 2);
  memset(l, 0, sizeof *l);
  luaL_setmetatable(L, LOADER);
  lua_newtable(L);
  lua_setiuservalue(L, 2, 1);
  read_data(L, l);

  lua_getfield(L, 1, "dtype");
  l->x_spec.dtype = face_dtype(L, -1, l->x_spec.dtype);
  lua_getfield(L, 1, "stages");
  const int stages = lua_gettop(L);
  lua_getfield(L, 1, "seed");
  lua_getfield(L, 1, "epoch");
  const uint64_t seed = (uint64_t)lua_tointeger(L, -2), epoch = (uint64_t)lua_tointeger(L, -1);
  lua_pushvalue(L, 1);
  const double scale = number(L, "scale", 1);
  l->next = integer(L, "first", 0);
  l->place = (uint64_t)integer(L, "place", 0);
  l->size = integer(L, "size", 1);
  l->drop_last = boolean(L, "drop_last");
  l->ahead = (int)integer(L, "prefetch", 0);
  l->n_workers = (int)integer(L, "workers", 1);
  if (l->next < 0 || l->next > l->samples || l->size < 1 || l->ahead < 0 ||
      l->ahead >= MOST_AHEAD || l->n_workers < 1)
    return face_error(L, "batches: a number is out of range");
  if (l->ahead > 0 && l->n_workers > MOST_WORKERS) l->n_workers = MOST_WORKERS;
  if (l->ahead == 0) l->n_workers = mw_threads(face_context(L));

  const mw_dtype from = mw_tensor_spec(l->x)->dtype, to = l->x_spec.dtype;
  if (!batch_widens(from, to, scale))
    return face_error(L, "batches: %s cannot be brought to %s", mw_dtype_name(from),
                      mw_dtype_name(to));
  if (lua_istable(L, stages)) read_stages(L, l, stages, 2);
  if (l->n_stages && to != MW_F32 && to != MW_F64)
    return face_error(L, "augment: x is %s, expected bytes or floats", mw_dtype_name(to));
  batch_conversion_init(&l->widen, from, l->n_stages ? MW_F32 : to, scale);
  batch_conversion_init(&l->finish, MW_F32, to, 1);
  l->out_width = row_width(&l->x_spec);
  get_scratch(L, l, 2);

  uint32_t words[4];
  mw_philox(seed, epoch * 2 + 1, words); /* even counters are for the orders */
  l->key = (uint64_t)words[1] << 32 | words[0];
  if (l->ahead > 0) {
    l->has_lock = pthread_mutex_init(&l->lock, NULL) == 0;
    if (l->has_lock) {
      pthread_cond_init(&l->filled, NULL);
      pthread_cond_init(&l->wanted, NULL);
    }
    /* Where the system gives no thread, batches are made when they are asked for. */
    if (!l->has_lock || !start(l)) l->n_workers = 1;
  }
  lua_settop(L, 2);
  return 1;
}

/* core.order(n, seed, epoch) -> i64[n]: 0 to n - 1 in an order that these alone decide (Fisher and
 * Yates). A number below i comes from 64 random bits, whose bias of i / 2^64 shows nowhere. */
static int loader_order(lua_State *L) {
  const lua_Integer n = face_check_integer(L, 1, "order", "n");
  const uint64_t seed = (uint64_t)face_check_integer(L, 2, "order", "seed");
  const uint64_t epoch = (uint64_t)face_check_integer(L, 3, "order", "epoch");
  if (n < 0) return face_error(L, "order: n is %lld, expected 0 or more", n);
  const mw_spec spec = mw_spec_of(MW_I64, 1, (int64_t[]){n});
  int64_t *order = face_push_blank(L, &spec);
  uint32_t w[4];
  mw_philox(seed, epoch * 2, w);
  const uint64_t key = (uint64_t)w[1] << 32 | w[0];
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    mw_philox(key, (uint64_t)i, w);
    const uint64_t word = (uint64_t)w[1] << 32 | w[0];
    const int64_t j = (int64_t)((unsigned __int128)word * (uint64_t)(i + 1) >> 64);
    const int64_t kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  return 1;
}

/* core.random_seed() -> 53 bits from the context's generator, which is moved on */
static int loader_seed(lua_State *L) {
  double unit;
  mw_random_uniform(face_context(L), MW_F64, 1, &unit, 0, 1);
  lua_pushinteger(L, (lua_Integer)(unit * 0x1p53));
  return 1;
}

void face_open_loader(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"loader", loader_new}, {"order", loader_order}, {"random_seed", loader_seed}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"next", loader_next}, {"close", loader_close}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, LOADER);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, loader_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
