/* pool.h: threads that wait to help with a piece of work. */
#ifndef MW_POOL_H
#define MW_POOL_H

/* Work that any number of threads can do together, each under a number of its own: 0 is the thread
 * that asks, helpers have those from 1 on. */
typedef void (*mw_work)(void *arg, int worker);

typedef struct mw_pool mw_pool;

/* For up to `helpers` threads beside the caller's, which are started when they are first needed.
 * NULL when memory is short. */
mw_pool *mw_pool_new(int helpers);
void mw_pool_free(mw_pool *pool); /* its threads have ended then; NULL is fine */

/* Calls work(arg, 0), and meanwhile lets up to `helpers` threads call it too: those that come in
 * time. Returns when all calls have returned. A thread that is not there, because the system has
 * not given it a processor, is not waited for: the work has to be such that those who come do all
 * of it. One thread at a time uses a pool. */
void mw_pool_run(mw_pool *pool, int helpers, mw_work work, void *arg);

/* How many processors this process may use: those that it is bound to, or fewer where a control
 * group's quota is less. */
int mw_processors(void);

#endif
