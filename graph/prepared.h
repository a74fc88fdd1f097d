/* prepared.h: ops for many calls: one that is looked up once, and one with its attributes, which are
 * set and checked once. */
#ifndef MW_PREPARED_H
#define MW_PREPARED_H

#include "moonwalk.h"

/* An op as it is registered. It may be gone when another age begins, which it does when an op is
 * replaced. */
typedef struct mw_op_entry mw_op_entry;
uint64_t mw_ops_age(const mw_context *ctx);                           /* never 0 */
mw_op_entry *mw_op_entry_of(const mw_context *ctx, const char *name); /* NULL: there is none */
const mw_op *mw_entry_op(const mw_op_entry *entry);
/* As mw_apply_all. */
int mw_apply_entry(mw_context *ctx, mw_op_entry *entry, int n_inputs, mw_tensor *const *inputs,
                   int n_settings, const mw_setting *settings, mw_tensor **outputs);

/* What a call's infer came to is kept, and comes to the same where the next one's inputs have equal
 * specs: infer is a function of these and of the attributes, but for ops of MW_VARIES. */
typedef struct mw_prepared mw_prepared;

/* NULL on failure. It holds the context, which its user may free before. */
mw_prepared *mw_prepare(mw_context *ctx, const char *op, int n_settings,
                        const mw_setting *settings);
const mw_op *mw_prepared_op(const mw_prepared *prepared);
/* Whether the op was replaced meanwhile: then prepare it again. */
bool mw_prepared_stale(const mw_prepared *prepared);
/* As mw_apply_all. */
int mw_apply_prepared(mw_prepared *prepared, int n_inputs, mw_tensor *const *inputs,
                      mw_tensor **outputs);
/* Whether it was last applied to inputs of these specs, and the op was not replaced since. */
bool mw_prepared_knows(const mw_prepared *prepared, int n_inputs, mw_tensor *const *inputs);
/* Where that is so: its first output, in less time, as nothing is called and nothing can be wrong.
 * NULL when memory is short. */
mw_tensor *mw_apply_known(const mw_prepared *prepared, int n_inputs, mw_tensor *const *inputs);
void mw_prepared_free(mw_prepared *prepared); /* NULL is fine */

#endif
