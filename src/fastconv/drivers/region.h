/* What `drivers/threads.pyx` needs of the system: the number of threads, the one region of the process, the workers
 * that OpenMP keeps, and the end of a region. It alone includes this: the state is the process's. */
#ifndef FASTCONV_REGION_H
#define FASTCONV_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#include <sched.h>
#endif

#ifdef _OPENMP
static const int fc_openmp = _OPENMP;
static int fc_team(void) { return omp_get_num_threads(); }
#else
static const int fc_openmp = 0;
static int fc_team(void) { return 1; }
#endif

/* --- clocks ----------------------------------------------------------------------------------------------------- */

#if defined(_WIN32)
static double fc_seconds(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double fc_cpu_seconds(void) { return fc_seconds(); }
#else
static double fc_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double fc_seconds(void) { return fc_clock(CLOCK_MONOTONIC); }
static double fc_cpu_seconds(void) { return fc_clock(CLOCK_THREAD_CPUTIME_ID); } /* of the calling thread */
#endif

/* --- how many --------------------------------------------------------------------------------------------------- */

enum { FC_MOST_THREADS = 4096 };

static atomic_int fc_count = 0; /* 0: nobody has asked yet */
static int fc_count_get(void) { return atomic_load(&fc_count); }
static void fc_count_set(int count) { atomic_store(&fc_count, count); }

/* Finds the default, a count of at least 1, and holds the interpreter meanwhile. */
static int (*fc_count_default)(void);

/* For those who look for symbols, as threadpoolctl does. */
#if defined(_WIN32)
#define FC_EXPORTED __declspec(dllexport)
#else
#define FC_EXPORTED __attribute__((visibility("default")))
#endif

FC_EXPORTED int fastconv_get_num_threads(void);
FC_EXPORTED int fastconv_get_num_threads(void) {
    int count = fc_count_get();
    return count ? count : fc_count_default();
}

FC_EXPORTED void fastconv_set_num_threads(int count);
FC_EXPORTED void fastconv_set_num_threads(int count) {
    fc_count_set(count < 1 ? 1 : count > FC_MOST_THREADS ? FC_MOST_THREADS : count);
}

/* --- the region, and forks -------------------------------------------------------------------------------------- */

static atomic_flag fc_region_running = ATOMIC_FLAG_INIT;
static atomic_int fc_forked = 0;

static int fc_in_forked_child(void) { return atomic_load(&fc_forked); }
static int fc_region_try(void) { return !atomic_flag_test_and_set(&fc_region_running); }
static void fc_region_release(void) { atomic_flag_clear(&fc_region_running); }

#if defined(_WIN32)

/* Builds for Windows have one thread. */
static void fc_watch(void) {}
static int fc_pools_now(void) { return 0; }
static ptrdiff_t fc_pool(void) { return FC_MOST_THREADS; }
static void fc_pool_set(ptrdiff_t threads) { (void)threads; }
static int fc_can_start(int wanted) { return wanted; }
static ptrdiff_t fc_take(ptrdiff_t *next) { return (*next)++; }
static void fc_begins(int number) { (void)number; }
static void fc_ends(int number, long long *nanoseconds) { (void)number, (void)nanoseconds; }
static void fc_arrive(int *arrived) { (void)arrived; }
static int fc_await(const int *arrived, int workers, double spin, double patience) {
    (void)arrived, (void)workers, (void)spin, (void)patience;
    return 1;
}

#else

/* The child of a fork has none of OpenMP's workers, and the region that its parent ran is not its own. */
static void fc_after_fork(void) {
    atomic_store(&fc_forked, 1);
    atomic_flag_clear(&fc_region_running);
}

/* --- OpenMP's workers ------------------------------------------------------------------------------------------- */

/* The threads of the calling thread's team, itself included. libgomp keeps a team for each thread that ran a region,
 * until that thread ends. */
static pthread_key_t fc_pool_key;
static atomic_int fc_pools = 0;

static void fc_pool_ends(void *threads) {
    (void)threads;
    atomic_fetch_sub(&fc_pools, 1);
}

static void fc_watch(void) {
    pthread_atfork(NULL, NULL, fc_after_fork);
    pthread_key_create(&fc_pool_key, fc_pool_ends);
}

static int fc_pools_now(void) { return atomic_load(&fc_pools); }
static ptrdiff_t fc_pool(void) { return (intptr_t)pthread_getspecific(fc_pool_key); }

static void fc_pool_set(ptrdiff_t threads) {
    if (fc_pool() == 0)
        atomic_fetch_add(&fc_pools, 1);
    pthread_setspecific(fc_pool_key, (void *)(intptr_t)threads);
}

static pthread_mutex_t fc_gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_t fc_started[FC_MOST_THREADS];

static void *fc_pass_gate(void *nothing) {
    pthread_mutex_lock(&fc_gate);
    pthread_mutex_unlock(&fc_gate);
    return nothing;
}

/* How many of so many threads the system would start, found by starting them, all alive at once. The caller holds the
 * region. */
static int fc_can_start(int wanted) {
    int n = 0;
    pthread_mutex_lock(&fc_gate);
    while (n < wanted && pthread_create(&fc_started[n], NULL, fc_pass_gate, NULL) == 0)
        n++;
    pthread_mutex_unlock(&fc_gate);
    for (int i = 0; i < n; i++)
        pthread_join(fc_started[i], NULL);
    return n;
}

/* --- work and its end ------------------------------------------------------------------------------------------- */

static ptrdiff_t fc_take(ptrdiff_t *next) { return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED); }

static pthread_mutex_t fc_end_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fc_end = PTHREAD_COND_INITIALIZER;
static atomic_int fc_end_sleeps = 0;

/* What threads run of a region's shares, measured by each from its first share to its last. */
static _Thread_local int fc_mark_region;
static _Thread_local double fc_mark;

static void fc_begins(int number) {
    if (fc_mark_region != number) {
        fc_mark_region = number;
        fc_mark = fc_cpu_seconds();
    }
}

static void fc_ends(int number, long long *nanoseconds) {
    if (fc_mark_region == number)
        __atomic_fetch_add(nanoseconds, (long long)(1e9 * (fc_cpu_seconds() - fc_mark)), __ATOMIC_RELAXED);
}

/* A worker has found nothing left to take. */
static void fc_arrive(int *arrived) {
    __atomic_fetch_add(arrived, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&fc_end_sleeps)) {
        pthread_mutex_lock(&fc_end_mutex);
        pthread_cond_signal(&fc_end);
        pthread_mutex_unlock(&fc_end_mutex);
    }
}

static int fc_all_arrived(const int *arrived, int workers) {
    return __atomic_load_n(arrived, __ATOMIC_SEQ_CST) >= workers;
}

/* The caller waits until all workers have, at most for `patience` seconds; returns whether they have. At the end of a
 * region libgomp would spin for milliseconds, on the very core that a worker whose own core is busy could run on: after
 * `spin` seconds this one sleeps. */
static int fc_await(const int *arrived, int workers, double spin, double patience) {
    double until = fc_seconds() + spin;
    struct timespec late;
    int refused = 0;
    while (!fc_all_arrived(arrived, workers) && fc_seconds() < until)
        ;
    if (fc_all_arrived(arrived, workers))
        return 1;
    until = fc_clock(CLOCK_REALTIME) + patience;
    late.tv_sec = (time_t)until;
    late.tv_nsec = (long)(1e9 * (until - (double)late.tv_sec));
    pthread_mutex_lock(&fc_end_mutex);
    atomic_store(&fc_end_sleeps, 1);
    while (!fc_all_arrived(arrived, workers) && !refused)
        refused = pthread_cond_timedwait(&fc_end, &fc_end_mutex, &late);
    atomic_store(&fc_end_sleeps, 0);
    pthread_mutex_unlock(&fc_end_mutex);
    sched_yield(); /* the worker that woke this thread may have been about to leave the region on this core */
    return fc_all_arrived(arrived, workers);
}

#endif
#endif
