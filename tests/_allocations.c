/* Makes the n-th allocation fail that a shared object makes by itself; preloaded, in the place of the C library's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long left = -1;
static atomic_int failures;
static char pattern[64];
static __thread int asking;

/* The n-th allocation from now on by an object whose path holds `part` fails, and none behind it. */
void fail_allocation(long n, const char *part) {
    strncpy(pattern, part, sizeof(pattern) - 1);
    atomic_store(&failures, 0);
    atomic_store(&left, n);
}

/* No more of that; returns how many failed. */
int stop_failing(void) {
    atomic_store(&left, -1);
    return atomic_load(&failures);
}

static int fails(const void *caller) {
    Dl_info object;
    if (atomic_load(&left) <= 0 || asking)
        return 0;
    asking = 1;
    const int ours = dladdr(caller, &object) && object.dli_fname && strstr(object.dli_fname, pattern);
    asking = 0;
    if (!ours || atomic_fetch_sub(&left, 1) != 1)
        return 0;
    atomic_fetch_add(&failures, 1);
    errno = ENOMEM;
    return 1;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size) { return fails(CALLER) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails(CALLER) ? NULL : __libc_calloc(n, size); }
void *realloc(void *memory, size_t size) { return fails(CALLER) ? NULL : __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails(CALLER) ? NULL : __libc_memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (fails(CALLER))
        return ENOMEM;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
