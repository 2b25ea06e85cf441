/* Compiled once, for the baseline instruction set. POSIX threads only: no futex, no OpenMP. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getcpu and affinities */
#include <sched.h>
#endif
#include "pool.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum { MAX_THREADS = 1024 };

/* How long a thread polls before it sleeps. By time, not by count: a pause takes 10 to 140 cycles. Workers wait for
 * the next layer's kernel; the caller waits for the last tasks, and leaves its core to a worker that lost its own. */
static const int64_t WORKER_SPIN_NS = 50000, CALLER_SPIN_NS = 50000;

static struct {
    pthread_mutex_t owner;    /* held by the caller whose job runs */
    pthread_mutex_t lock;     /* guards the two conditions */
    pthread_cond_t work, done;
    pthread_t workers[MAX_THREADS];
    int tried;                /* workers asked for */
    _Atomic int started;      /* those that run: a thread that cannot be had is done without */
    _Atomic int threads;      /* as set; the caller counts as one */
    int workers_are_new;      /* since their CPUs were last set */
    _Atomic int sleeping;     /* workers that wait for `work` */
    _Atomic int caller_sleeps;
    _Atomic int quit;

    /* The job. Whoever holds a claim may read it: it cannot end before its tasks. */
    pool_task task;
    void *job;
    fenv_t floating; /* the caller's rounding mode and the like: tasks run under it on every thread */
    uint32_t tasks;
    _Atomic int shares;       /* its tasks are in so many, see below */
    _Atomic uint32_t finished, number;
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .threads = 1};

/* The tasks of a job are shared out in runs, one for each thread: what a thread wrote in the last job is then in its cache
 * when the next one wants it. Low half: tasks not yet claimed; high half: the job's number, so that a claim made against
 * an old job fails. A line of the cache each. */
static struct { _Alignas(64) _Atomic uint64_t left; } shares[MAX_THREADS];

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------- scratch */

static _Thread_local void *scratch; /* as allocated; the key only sees to its end */
static pthread_key_t scratch_key;
static int has_scratch_key;
static void make_scratch_key(void) { has_scratch_key = pthread_key_create(&scratch_key, free) == 0; }

static void *new_scratch(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_scratch_key);
    if (!has_scratch_key || !(scratch = malloc(SCRATCH_BYTES + 63))) return NULL;
    if (pthread_setspecific(scratch_key, scratch) != 0) {
        free(scratch);
        return scratch = NULL;
    }
    return memset(scratch, 0, SCRATCH_BYTES + 63);
}

void *pool_scratch(void) {
    if (!scratch && !new_scratch()) return NULL;
    return (void *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
}

uint64_t pool_new_number(void) {
    static _Atomic uint64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

/* --------------------------------------------------------------------------------------------- jobs */

static int all_finished(void) { return atomic_load(&pool.finished) == pool.tasks; }

/* Polls `ready` for at most `ns`. */
static int spin_until(int (*ready)(void), int64_t ns) {
    const int64_t end = now_ns() + ns;
    do {
        for (int i = 0; i < 16; i++) {
            if (ready()) return 1;
            PAUSE();
        }
    } while (now_ns() < end);
    return ready();
}

static uint32_t share_end(int share) {
    return (uint32_t)((uint64_t)pool.tasks * (uint64_t)(share + 1) / (uint64_t)atomic_load(&pool.shares));
}

/* Claims and runs tasks of that share until none is left. */
static void work_off_share(int share, int is_worker) {
    uint64_t left = atomic_load(&shares[share].left);
    while ((uint32_t)left) {
        if (!atomic_compare_exchange_weak(&shares[share].left, &left, left - 1)) continue;
        const uint32_t tasks = pool.tasks;
        if (is_worker) fesetenv(&pool.floating);
        pool.task(pool.job, (ptrdiff_t)(share_end(share) - (uint32_t)left));
        if (atomic_fetch_add(&pool.finished, 1) + 1 == tasks && atomic_load(&pool.caller_sleeps)) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.lock);
        }
        left = atomic_load(&shares[share].left);
    }
}

/* The thread's own share, then the others. The caller is thread 0. */
static void work_off(int thread) {
    const int count = atomic_load(&pool.shares);
    for (int i = 0; i < count; i++) work_off_share((thread + i) % count, thread > 0);
}

static _Thread_local uint32_t seen; /* the number of the job that a worker saw last */
static int work_or_quit(void) { return atomic_load(&pool.number) != seen || atomic_load(&pool.quit); }

static void *worker(void *thread) {
    if (!pool_scratch()) return NULL; /* it is done without, as if it could not have been started */
    for (;;) {
        if (!spin_until(work_or_quit, WORKER_SPIN_NS)) {
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.sleeping, 1);
            while (!work_or_quit()) pthread_cond_wait(&pool.work, &pool.lock);
            atomic_fetch_sub(&pool.sleeping, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        if (atomic_load(&pool.quit)) return NULL;
        seen = atomic_load(&pool.number);
        work_off((int)(intptr_t)thread);
    }
}

#ifndef _WIN32
/* The child of a fork has no workers, and locks that somebody may have held. */
static void forget_workers(void) {
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.tried = 0;
    atomic_store(&pool.started, 0);
    for (int i = 0; i < MAX_THREADS; i++) atomic_store(&shares[i].left, 0);
    atomic_store(&pool.sleeping, 0);
    atomic_store(&pool.caller_sleeps, 0);
    atomic_store(&pool.quit, 0);
}
static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }
static pthread_once_t watched = PTHREAD_ONCE_INIT;
#endif

static void start_workers(void) {
#ifndef _WIN32
    pthread_once(&watched, watch_forks);
#endif
#ifndef _WIN32 /* signals are for the program's own threads */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    for (; pool.tried < pool.threads - 1; pool.tried++)
        pool.started += pthread_create(&pool.workers[pool.started], NULL, worker, (void *)(intptr_t)(pool.started + 1)) == 0;
#ifndef _WIN32
    pthread_sigmask(SIG_SETMASK, &before, NULL);
#endif
    pool.workers_are_new = 1;
}

static void stop_workers(void) {
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.quit, 1);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    while (pool.started) pthread_join(pool.workers[--pool.started], NULL);
    pool.tried = 0;
    atomic_store(&pool.quit, 0);
}

/* Keeps the workers on the CPUs of the caller, but off the one where it runs. Linux likes to wake a thread where the waker
 * runs; with the caller at work there the woken one waits, while another CPU idles. Among many CPUs that is rare. */
static void keep_off_callers_cpu(void) {
#if defined(__linux__)
    static cpu_set_t kept; /* what the workers have; guarded by `owner` */
    cpu_set_t mine, others;
    const int cpu = sched_getcpu();
    if (cpu < 0 || pool.started > 16 || pthread_getaffinity_np(pthread_self(), sizeof mine, &mine) != 0) return;
    others = mine;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0) others = mine;
    if (!pool.workers_are_new && CPU_EQUAL(&others, &kept)) return;
    for (int i = 0; i < pool.started; i++) pthread_setaffinity_np(pool.workers[i], sizeof others, &others);
    kept = others;
    pool.workers_are_new = 0;
#endif
}

static void wake_workers(uint32_t wanted) {
    if (!atomic_load(&pool.sleeping)) return;
    pthread_mutex_lock(&pool.lock);
    for (uint32_t i = 0; i < wanted && (int)i < pool.started; i++) pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

static void wait_for_others(void) {
    if (spin_until(all_finished, CALLER_SPIN_NS)) return;
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.caller_sleeps, 1);
    while (!all_finished()) pthread_cond_wait(&pool.done, &pool.lock);
    atomic_store(&pool.caller_sleeps, 0);
    pthread_mutex_unlock(&pool.lock);
}

static _Atomic int64_t alone; /* when the last job of middle size ended that was not shared out, as the workers slept */

int pool_is_worth(double multiply_adds, int lanes) {
    static const double middle = 400000, large = 3000000; /* of 16 lanes: 7 and 50 microseconds of a core */
    const double cost = multiply_adds * 16 / lanes;
    if (pool.threads < 2 || cost < middle) return 0;
    if (cost > large || (atomic_load(&pool.started) && !atomic_load(&pool.sleeping))) return 1;
    return now_ns() - atomic_load(&alone) < WORKER_SPIN_NS ? 1 : -1;
}

void pool_run(pool_task task, void *job, ptrdiff_t tasks, int share) {
    if (share != 1 || tasks < 2 || tasks > UINT32_MAX || pool.threads < 2 || pthread_mutex_trylock(&pool.owner) != 0) {
        for (ptrdiff_t i = 0; i < tasks; i++) task(job, i);
        if (share < 0) atomic_store(&alone, now_ns());
        return;
    }
    if (pool.tried < pool.threads - 1) start_workers();
    keep_off_callers_cpu();
    pool.task = task;
    pool.job = job;
    pool.tasks = (uint32_t)tasks;
    fegetenv(&pool.floating);
    atomic_store(&pool.finished, 0);
    const int count = pool.started + 1 < tasks ? pool.started + 1 : (int)tasks;
    atomic_store(&pool.shares, count);
    const uint32_t number = atomic_load(&pool.number) + 1;
    for (int i = 0; i < count; i++)
        atomic_store(&shares[i].left, (uint64_t)number << 32 | (share_end(i) - (i ? share_end(i - 1) : 0)));
    atomic_store(&pool.number, number);
    wake_workers((uint32_t)tasks - 1);
    work_off(0);
    wait_for_others();
    pthread_mutex_unlock(&pool.owner);
}

int pool_threads(void) { return pool.threads; }

void pool_set_threads(int threads) {
    pthread_mutex_lock(&pool.owner);
    if (threads < 1) threads = 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    if (threads != pool.threads) stop_workers();
    pool.threads = threads;
    pthread_mutex_unlock(&pool.owner);
}
