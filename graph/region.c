/* region.c: finds consecutive steps that can run slice by slice, and makes their calls.
 *
 * A batch of images that goes through convolution, relu and pooling one step at a time writes and
 * reads every value in full, and values of a batch do not fit a cache. The same steps on four images
 * at a time do. So a region is a run of steps that cut the same axis 0 (the batch), as their ops
 * declare with `batched`, or that are elementwise and cut anywhere. Each slice is a call of the same
 * kernels with smaller shapes; slices are what threads share out, with one fork and join for all
 * steps of the region. Gradients that are sums over the batch are summed apart in each slice, and
 * these sums are added in the order of the slices: how a region is cut depends on shapes alone, and
 * so do its bits.
 *
 * What cutting costs is that weights are read once in each slice, and their gradients written: a
 * step takes part if that moves fewer bytes than the step's slices themselves have. */
#include <string.h>

#include "internal.h"

enum {
  SLICE_BYTES = 192 * 1024, /* of one step's arrays: a part of a second-level cache */
  STRIP_BYTES = 16 * 1024,  /* of one array, where steps are elementwise */
  LEAST_BYTES = 16 * 1024,  /* of a slice, below which calls cost more than memory */
  SLICES = 16,              /* into which a batch is cut at least, for threads to share */
};

/* ---- what a step's op allows --------------------------------------------------------------- */

typedef enum group { IN, OUT, DOUT, DIN } group; /* as a call's arrays follow each other */

static group group_of(const mw_call *call, int a, int *i) {
  const int n[] = {call->n_in, call->n_out, call->n_out};
  int g = IN;
  for (*i = a; g < DIN && *i >= n[g]; g++) *i -= n[g];
  return (group)g;
}

static bool is_made(const mw_call *call, group g) { return g == (call->backward ? DIN : OUT); }

/* Whether entries along axis 0 of input i are entries of the outputs. */
static bool batched_input(const mw_step *step, int i) {
  const mw_op *op = &step->entry->op;
  const mw_spec *in = &step->call.in[i].spec, *out = &step->call.out[0].spec;
  if (op->flags & MW_ELEMENTWISE)
    return in->rank == out->rank && in->rank > 0 && in->shape[0] == out->shape[0];
  const int last = step->entry->n_in - 1;
  return op->batched & MW_IN(i < last ? i : last);
}

static bool has_entries(const mw_spec *spec, int64_t entries) {
  return spec->rank > 0 && spec->shape[0] == entries;
}

/* A single axis of what the op declares to be batched is no batch: dense takes [in] as well. */
static bool lacks_batch(const mw_step *step, int a, int i) {
  int unused;
  return group_of(&step->call, a, &unused) == IN && step->arrays[a].spec.rank < 2 &&
         (step->entry->op.batched & MW_IN(i));
}

/* The roles of inputs and outputs, gradients like what they belong to. False: cannot be cut so. */
static bool cut_batch(const mw_step *step, int64_t entries, mw_cut *cuts) {
  const mw_call *call = &step->call;
  for (int a = 0, i; a < step->n_arrays; a++) {
    const group g = group_of(call, a, &i);
    const mw_spec *spec = &step->arrays[a].spec;
    const bool sliced = g == OUT || g == DOUT || (mw_present(spec) && batched_input(step, i));
    if (sliced && (!has_entries(spec, entries) || lacks_batch(step, a, i))) return false;
    cuts[a].role = sliced ? MW_SLICED : g == DIN ? MW_SUMMED : MW_WHOLE;
  }
  return true;
}

static bool cut_flat(const mw_step *step, int64_t entries, mw_cut *cuts) {
  const mw_call *call = &step->call;
  const mw_spec *like = &call->out[0].spec;
  if (!(step->entry->op.flags & MW_ELEMENTWISE)) return false;
  for (int a = 0, i; a < step->n_arrays; a++) {
    const group g = group_of(call, a, &i);
    const mw_array *array = &step->arrays[a];
    const bool sliced = array->count == entries && mw_present(&array->spec);
    if (sliced ? !mw_same_shape(&array->spec, like) : mw_present(&array->spec) && array->count != 1)
      return false;
    cuts[a].role = sliced ? MW_SLICED : g == DIN ? MW_SUMMED : MW_WHOLE;
  }
  return true;
}

static bool can_cut(const mw_step *step) {
  const mw_op *op = &step->entry->op;
  return (op->batched || (op->flags & MW_ELEMENTWISE)) && !(op->flags & MW_IMPURE) &&
         mw_present(&step->call.out[0].spec) && step->n_arrays <= MW_MAX_CUT;
}

static int64_t entries_of(const mw_step *step, bool flat) {
  const mw_array *out = &step->call.out[0];
  return flat ? out->count : out->spec.rank > 0 ? out->spec.shape[0] : 0;
}

/* ---- finding regions ----------------------------------------------------------------------- */

typedef struct finder {
  mw_program *p;
  int *made; /* of a root: +trial if this trial's steps make slices of it, -trial if sums */
  int trial;
  mw_cut *cuts;       /* of the step that is looked at */
  int64_t entries;    /* of the region so far: */
  bool flat, batched; /* some step is more than elementwise */
  size_t largest;     /* bytes of an entry, of the step that has most */
  size_t element;     /* bytes of the largest element */
  double whole;       /* bytes of a step that are not cut, by those of an entry, at most */
} finder;

static bool is_float(mw_dtype dtype) { return dtype == MW_F32 || dtype == MW_F64; }

/* Whether the array fits what the region's steps before have made. */
static bool fits(finder *f, const mw_step *step, int a, int slot, bool made_here) {
  const mw_slot *root = mw_slot_root(f->p->slots, slot);
  const int before = f->made[root - f->p->slots];
  const mw_cut *cut = &f->cuts[a];
  if (made_here) return cut->role == MW_SLICED || is_float(step->arrays[a].spec.dtype);
  if (cut->role == MW_WHOLE) return before != f->trial && before != -f->trial;
  return before != -f->trial;
}

typedef struct bytes {
  size_t entry, whole, element;
} bytes;

static void count_bytes(const finder *f, const mw_step *step, bytes *sum) {
  *sum = (bytes){0};
  for (int a = 0; a < step->n_arrays; a++) {
    if (step->slots[a] < 0) continue;
    const size_t size = mw_spec_bytes(&step->arrays[a].spec);
    if (f->cuts[a].role == MW_SLICED) sum->entry += size / (size_t)f->entries;
    else sum->whole += size;
    const size_t element = mw_dtype_size(step->arrays[a].spec.dtype);
    if (element > sum->element) sum->element = element;
  }
}

/* Entries in a slice, of a region whose steps are as the finder has counted. */
static int64_t slice_of(const finder *f) {
  if (f->p->ctx->slicing == MW_SLICE_ALWAYS) return f->flat ? 3 : 1;
  if (f->flat) return STRIP_BYTES / (int64_t)f->element;
  const int64_t entry = f->largest > 0 ? (int64_t)f->largest : 1;
  const int64_t fit = SLICE_BYTES / entry, enough = mw_chunks(LEAST_BYTES, entry);
  int64_t slice = mw_chunks(f->entries, SLICES);
  if (slice > fit) slice = fit;
  if (slice < enough) slice = enough;
  return slice < 1 ? 1 : slice;
}

static bool pays(const finder *f) {
  if (f->p->ctx->slicing == MW_SLICE_ALWAYS) return true;
  const int64_t slices = mw_chunks(f->entries, slice_of(f));
  if (!f->flat && f->entries * (int64_t)f->largest <= SLICE_BYTES)
    return false; /* in a cache anyway */
  return slices > 1 && (double)slices * f->whole <= (double)f->entries;
}

/* Whether step k can be the region's next; then counts it in. */
static bool add_step(finder *f, int k) {
  const mw_step *step = &f->p->steps[k];
  const mw_op *op = &step->entry->op;
  if (!can_cut(step) || entries_of(step, f->flat) != f->entries) return false;
  if (!(f->flat ? cut_flat : cut_batch)(step, f->entries, f->cuts)) return false;
  for (int a = 0, i; a < step->n_arrays; a++) {
    const bool made_here = is_made(&step->call, group_of(&step->call, a, &i));
    if (step->slots[a] >= 0 && !fits(f, step, a, step->slots[a], made_here)) return false;
  }
  if (step->saved >= 0 &&
      (!op->batched || f->flat || f->p->slots[step->saved].bytes % (size_t)f->entries != 0))
    return false;
  bytes sum;
  count_bytes(f, step, &sum);
  finder with = *f;
  if (sum.entry > with.largest) with.largest = sum.entry;
  if (sum.element > with.element) with.element = sum.element;
  const double whole = sum.entry ? (double)sum.whole / (double)sum.entry : 0;
  if (whole > with.whole) with.whole = whole;
  if (!pays(&with)) return false;
  with.batched |= op->batched != 0;
  *f = with;
  for (int a = 0, i; a < step->n_arrays; a++)
    if (step->slots[a] >= 0 && is_made(&step->call, group_of(&step->call, a, &i)))
      f->made[mw_slot_root(f->p->slots, step->slots[a]) - f->p->slots] =
          f->cuts[a].role == MW_SLICED ? f->trial : -f->trial;
  return true;
}

/* The end of the region that begins with step k; k itself when there is none. */
static int grow(finder *f, int k, bool flat) {
  f->trial++;
  f->flat = flat;
  f->batched = false;
  f->largest = f->element = 0;
  f->whole = 0;
  f->entries = entries_of(&f->p->steps[k], flat);
  if (f->entries < 2) return k;
  int end = k;
  while (end < f->p->n_steps && add_step(f, end)) end++;
  const int least = f->p->ctx->slicing == MW_SLICE_ALWAYS ? 1 : 2;
  return end - k >= least && (flat || f->batched) ? end : k;
}

/* ---- the calls of a region ----------------------------------------------------------------- */

static void part_free(mw_part *part) {
  free(part->step.arrays);
  free(part->cuts);
}

static void parts_free(mw_part *parts, int n) {
  for (int k = 0; parts && k < n; k++) part_free(&parts[k]);
  free(parts);
}

/* The spec of `entries` entries of an array. */
static void cut_array(mw_array *array, bool flat, int64_t entries) {
  if (flat) array->spec = mw_spec_of(array->spec.dtype, 1, &entries);
  else array->spec.shape[0] = entries;
  array->count = mw_spec_count(&array->spec);
}

static mw_status make_part(mw_program *p, const mw_region *region, int k, int64_t entries,
                           mw_part *part) {
  const mw_step *whole = &p->steps[k];
  const size_t n = (size_t)whole->n_arrays;
  part->step = *whole;
  part->step.arrays = malloc(n * sizeof(mw_array));
  part->cuts = calloc(n + 1, sizeof(mw_cut));
  if (!part->step.arrays || !part->cuts) return mw_no_memory(p->ctx);
  memcpy(part->step.arrays, whole->arrays, n * sizeof(mw_array));
  (region->flat ? cut_flat : cut_batch)(whole, region->entries, part->cuts);
  size_t sums = 0;
  for (size_t a = 0; a < n; a++) {
    mw_cut *cut = &part->cuts[a];
    mw_array *array = &part->step.arrays[a];
    const size_t size = mw_spec_bytes(&array->spec);
    if (cut->role == MW_SLICED) {
      cut->unit = size / (size_t)region->entries;
      cut_array(array, region->flat, entries);
    } else if (region->flat && mw_present(&array->spec)) {
      array->spec.rank = 0; /* its one element, beside strips of rank 1 */
      memset(array->spec.shape, 0, sizeof array->spec.shape);
    }
    if (cut->role == MW_SUMMED && whole->slots[a] >= 0) {
      cut->unit = sums;
      sums += mw_aligned(size);
    }
  }
  if (whole->saved >= 0) {
    part->cuts[n].role = MW_SLICED;
    part->cuts[n].unit = p->slots[whole->saved].bytes / (size_t)region->entries;
  }
  mw_call_arrays(&part->step.call, part->step.arrays);
  mw_workspace need;
  if (mw_step_pick(p, &part->step, &need)) return MW_FAILED;
  part->call_bytes = mw_aligned(need.call);
  return MW_OK;
}

static mw_part *make_parts(mw_program *p, const mw_region *region, int64_t entries) {
  const int n = region->end - region->first;
  mw_part *parts = calloc((size_t)n, sizeof *parts);
  if (!parts) {
    mw_no_memory(p->ctx);
    return NULL;
  }
  for (int k = 0; k < n; k++) {
    if (make_part(p, region, region->first + k, entries, &parts[k])) {
      parts_free(parts, n);
      return NULL;
    }
    p->steps[region->first + k].kernel = parts[k].step.kernel; /* for those who ask */
  }
  return parts;
}

/* Gives the sums of each step a place of their own among those of a slice. */
static void place_sums(mw_region *region) {
  for (int k = 0; k < region->end - region->first; k++) {
    mw_part *part = &region->parts[k];
    size_t end = region->sums_bytes;
    for (int a = 0; a < part->step.n_arrays; a++) {
      if (part->cuts[a].role != MW_SUMMED || part->step.slots[a] < 0) continue;
      part->cuts[a].unit += region->sums_bytes;
      if (region->last) region->last[k].cuts[a].unit = part->cuts[a].unit;
      end += mw_aligned(mw_spec_bytes(&part->step.arrays[a].spec));
    }
    region->sums_bytes = end;
  }
}

static mw_status make_region(mw_program *p, mw_region *region, const finder *f, int first,
                             int end) {
  *region = (mw_region){.first = first,
                        .end = end,
                        .flat = f->flat,
                        .entries = f->entries,
                        .slice = slice_of(f),
                        .block = p->steps[first].block};
  if (region->slice > region->entries) region->slice = region->entries;
  const int64_t rest = region->entries % region->slice;
  if (!(region->parts = make_parts(p, region, region->slice))) return MW_FAILED;
  if (rest && !(region->last = make_parts(p, region, rest))) return MW_FAILED;
  place_sums(region);
  if (region->block >= 0) return MW_OK;
  const mw_spec spec = mw_spec_of(MW_U8, 1, (int64_t[]){0});
  region->block = p->steps[first].block = mw_slot_new(p, &spec, MW_IN_ARENA);
  return region->block < 0 ? MW_FAILED : MW_OK;
}

void mw_regions_free(mw_program *p) {
  for (int i = 0; i < p->n_regions; i++) {
    const mw_region *region = &p->regions[i];
    for (int k = region->first; k < region->end; k++) p->steps[k].kernel = NULL;
    parts_free(region->parts, region->end - region->first);
    parts_free(region->last, region->end - region->first);
  }
  free(p->regions);
  p->regions = NULL;
  p->n_regions = 0;
}

static mw_status find_all(finder *f) {
  mw_program *p = f->p;
  for (int k = 0; k < p->n_steps;) {
    int end = k;
    if (p->ctx->slicing != MW_SLICE_NEVER && can_cut(&p->steps[k])) {
      end = grow(f, k, false);
      if (end == k) end = grow(f, k, true);
    }
    if (end > k) {
      if (make_region(p, &p->regions[p->n_regions++], f, k, end)) return MW_FAILED;
      k = end;
    } else {
      if (!p->steps[k].kernel && mw_step_choose(p, &p->steps[k])) return MW_FAILED;
      k++;
    }
  }
  return MW_OK;
}

mw_status mw_regions_find(mw_program *p) {
  mw_regions_free(p);
  for (int s = 0; s < p->n_slots; s++) p->slots[s].root = p->slots[s].home;
  int most = 1; /* arrays of a step */
  for (int k = 0; k < p->n_steps; k++)
    if (p->steps[k].n_arrays > most) most = p->steps[k].n_arrays;
  finder f = {.p = p,
              .made = calloc((size_t)p->n_slots + 1, sizeof *f.made),
              .cuts = calloc((size_t)most, sizeof *f.cuts)};
  p->regions = calloc((size_t)p->n_steps + 1, sizeof *p->regions);
  const mw_status status = f.made && f.cuts && p->regions ? find_all(&f) : mw_no_memory(p->ctx);
  free(f.made);
  free(f.cuts);
  return status;
}

const mw_region *mw_region_of(const mw_program *p, int step) {
  int low = 0, high = p->n_regions;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (p->regions[middle].end <= step) low = middle + 1;
    else high = middle;
  }
  return low < p->n_regions && p->regions[low].first <= step ? &p->regions[low] : NULL;
}
