/* The thread pool: each thread has a share of the tasks, the same in each job of a kind, and claims them one by one; when
 * it is done it helps with the others', so that a slow thread delays nobody by more than one task. Created at first use,
 * safe after fork, safe for concurrent callers. */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>
#include <stdint.h>

typedef void (*pool_task)(void *job, ptrdiff_t index);

/* Is a job of about so many multiply-adds, of `lanes` numbers at a time, worth sharing out? 1: yes; 0: no, it is small; -1: it is
 * of middle size, and while the workers sleep it is not, since to wake them takes as long. */
int pool_is_worth(double multiply_adds, int lanes);

/* Runs task(job, i) for every 0 <= i < tasks and returns when all are done. The caller works too. Unless share is 1, and while
 * another caller has the workers, all of them run on the caller's thread. share: what pool_is_worth() said, once for all that a
 * call of the library runs; if jobs of middle size come thick and fast, it will say that the workers should be woken. */
void pool_run(pool_task task, void *job, ptrdiff_t tasks, int share);

/* Threads at most, the caller's included. */
int pool_threads(void);
void pool_set_threads(int threads);

/* The calling thread's own scratch, SCRATCH_BYTES of it (SPARE_BYTES of these lie behind the panels of a product), aligned to 64
 * and zero when it is new; freed when the thread ends. NULL if there is no memory for it; but never in a task, nor again in a
 * thread that once had it. */
enum { SCRATCH_BYTES = 1280 * 1024, SPARE_BYTES = 512 * 1024 };
void *pool_scratch(void);

/* Numbers jobs, from 1: what scratch holds can be told to be of this job, whichever kernels last used it. */
uint64_t pool_new_number(void);

#endif
