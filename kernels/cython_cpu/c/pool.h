/* The thread pool: workers that claim small tasks from a counter, so that a slow thread delays nobody by more than
 * one task. Created at first use, safe after fork, safe for concurrent callers. */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>

typedef void (*pool_task)(void *job, ptrdiff_t index);

/* Runs task(job, i) for every 0 <= i < tasks and returns when all are done. The caller works too. While
 * another caller has the workers, or when tasks < 2, everything runs on the caller's thread. */
void pool_run(pool_task task, void *job, ptrdiff_t tasks);

/* Threads at most, the caller's included. */
int pool_threads(void);
void pool_set_threads(int threads);

#endif
