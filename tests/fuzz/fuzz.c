/* Draws cases, guards memory, compares; see fuzz.h.
 *
 * A shared library with one function, `fuzz_run`, that is given the kernels of a level. With FUZZ_LIBFUZZER, a program
 * that libFuzzer drives, with kernels of its own: the bytes are what is drawn, the first one the level.
 */
#define _GNU_SOURCE
#include "fuzz.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum { PAGE = 4096, BLOCKS = 24, BLOCK_BYTES = 512 * PAGE, MARGIN = 256, KERNELS = 64 };
static const unsigned char CANARY = 0xA5;

const ptrdiff_t size_of[KINDS] = {4, 8, 8, 16, 2, 4, 8};

static char *memory;
static struct {
    char *start;
    ptrdiff_t bytes;
} blocks[BLOCKS];
static int used;

static const fc_level *level;
static const char *case_name = "", *kernel_name = "";
static long case_number;
static unsigned long long seed;

static const uint8_t *drawn;
static size_t drawn_left;
static uint64_t state;

static struct {
    const char *name;
    long calls;
} counts[KERNELS];

/* --- what is drawn ------------------------------------------------------------------------------------------------ */

uint64_t random_bits(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

ptrdiff_t pick(ptrdiff_t least, ptrdiff_t most) {
    uint64_t bits;
    if (drawn_left >= 2) {
        bits = (uint64_t)drawn[0] | (uint64_t)drawn[1] << 8;
        drawn += 2;
        drawn_left -= 2;
    } else {
        bits = random_bits() >> 16;
    }
    return least + (ptrdiff_t)(bits % (uint64_t)(most - least + 1));
}

int once_in(ptrdiff_t times) { return pick(1, times) == 1; }

/* --- failures ----------------------------------------------------------------------------------------------------- */

static void where(char *text, size_t size, const char *what) {
    snprintf(text, size, "%s: kernel %s, case %s, level %s, --seed %llu --at %ld\n", what, kernel_name, case_name,
             level ? level->name : "", seed, case_number);
}

static void fail(const char *what) {
    char text[512];
    where(text, sizeof(text), what);
    fputs(text, stderr);
    abort();
}

#ifndef __SANITIZE_ADDRESS__
static void on_fault(int number) {
    char text[512];
    where(text, sizeof(text), "memory fault");
    if (write(2, text, strlen(text)) < 0)
        _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}
#endif

void expect_true(int condition, const char *what) {
    if (!condition)
        fail(what);
}

void calling(const char *kernel) {
    kernel_name = kernel;
    for (int i = 0; i < KERNELS; i++) {
        if (counts[i].name && strcmp(counts[i].name, kernel))
            continue;
        counts[i].name = kernel;
        counts[i].calls++;
        return;
    }
    fail("more kernels than are counted");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void prepare(void) {
    const size_t stride = BLOCK_BYTES + 2 * PAGE;
    memory = mmap(NULL, BLOCKS * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        fail("no memory");
    for (int i = 0; i < BLOCKS; i++) {
        char *first = memory + (size_t)i * stride;
        if (mprotect(first, PAGE, PROT_NONE) || mprotect(first + PAGE + BLOCK_BYTES, PAGE, PROT_NONE))
            fail("mprotect failed");
    }
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
#endif
}

/* The bytes beside a block that belong to it but not to its array. */
static void margins(int i, char **before, ptrdiff_t *n_before, char **behind, ptrdiff_t *n_behind) {
    char *first = memory + (size_t)i * (BLOCK_BYTES + 2 * PAGE) + PAGE, *end = blocks[i].start + blocks[i].bytes;
    *n_before = lesser(blocks[i].start - first, MARGIN);
    *before = blocks[i].start - *n_before;
    *behind = end;
    *n_behind = lesser(first + BLOCK_BYTES - end, MARGIN);
}

void *fenced(ptrdiff_t bytes, ptrdiff_t alignment) {
    char *before, *behind;
    ptrdiff_t n_before, n_behind;
    if (used == BLOCKS || bytes > BLOCK_BYTES)
        fail("a case that is too large");
    char *first = memory + (size_t)used * (BLOCK_BYTES + 2 * PAGE) + PAGE;
    const ptrdiff_t last = (BLOCK_BYTES - bytes) / alignment * alignment;
    blocks[used].start = once_in(3) ? first : first + last;
    blocks[used].bytes = bytes;
    margins(used, &before, &n_before, &behind, &n_behind);
    memset(before, CANARY, (size_t)n_before);
    memset(behind, CANARY, (size_t)n_behind);
    memset(blocks[used].start, 0xFF, (size_t)bytes);
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(before, (size_t)n_before);
    ASAN_POISON_MEMORY_REGION(behind, (size_t)n_behind);
#endif
    return blocks[used++].start;
}

static void release(void) {
    for (int i = 0; i < used; i++) {
        char *before, *behind;
        ptrdiff_t n_before, n_behind;
        margins(i, &before, &n_before, &behind, &n_behind);
#ifdef __SANITIZE_ADDRESS__
        ASAN_UNPOISON_MEMORY_REGION(before, (size_t)(n_before + blocks[i].bytes + n_behind));
#endif
        for (ptrdiff_t j = 0; j < n_before + n_behind; j++)
            if ((unsigned char)(j < n_before ? before[j] : behind[j - n_before]) != CANARY)
                fail("written beside an array");
    }
    used = 0;
}

ptrdiff_t *table(ptrdiff_t n) { return fenced(n * (ptrdiff_t)sizeof(ptrdiff_t), sizeof(ptrdiff_t)); }

/* --- elements ----------------------------------------------------------------------------------------------------- */

number get(const void *array, kind k, ptrdiff_t i) {
    const char *at = (const char *)array + i * size_of[k];
    number n = {0, 0, 0};
    float f[2];
    double d[2];
    switch (k) {
    case F32: memcpy(f, at, 4); n.re = f[0]; break;
    case F64: memcpy(d, at, 8); n.re = d[0]; break;
    case C64: memcpy(f, at, 8); n.re = f[0]; n.im = f[1]; break;
    case C128: memcpy(d, at, 16); n.re = d[0]; n.im = d[1]; break;
    default: memcpy(&n.whole, at, (size_t)size_of[k]); break;
    }
    return n;
}

void put(void *array, kind k, ptrdiff_t i, double value) {
    char *at = (char *)array + i * size_of[k];
    const float f = (float)value;
    if (k == F32)
        memcpy(at, &f, 4);
    else
        memcpy(at, &value, 8);
}

number plus_product(number sum, number a, number b) {
    return (number){sum.re + a.re * b.re - a.im * b.im, sum.im + a.re * b.im + a.im * b.re,
                    sum.whole + a.whole * b.whole};
}

void *operand(kind k, ptrdiff_t n, ptrdiff_t alignment) {
    char *array = fenced(n * size_of[k], alignment);
    if (k >= U16) {
        for (ptrdiff_t i = 0; i < n; i++) {
            const uint64_t bits = random_bits();
            memcpy(array + i * size_of[k], &bits, (size_t)size_of[k]);
        }
        return array;
    }
    const kind part = k == F32 || k == C64 ? F32 : F64;
    const ptrdiff_t parts = n * size_of[k] / size_of[part];
    for (ptrdiff_t i = 0; i < parts; i++)
        put(array, part, i, (double)(random_bits() % 7) - 3);
    return array;
}

void expect(const void *array, kind k, ptrdiff_t i, number wanted) {
    const number actual = get(array, k, i);
    const uint64_t mask = k >= U16 && size_of[k] < 8 ? ((uint64_t)1 << 8 * size_of[k]) - 1 : UINT64_MAX;
    if (k >= U16 ? actual.whole != (wanted.whole & mask)
                 : actual.re != wanted.re || ((k == C64 || k == C128) && actual.im != wanted.im)) {
        fprintf(stderr, "element %td: got %.17g %.17g %llu, wanted %.17g %.17g %llu\n", i, actual.re, actual.im,
                (unsigned long long)actual.whole, wanted.re, wanted.im, (unsigned long long)(wanted.whole & mask));
        fail("a wrong result");
    }
}

void expect_near(const void *array, kind k, ptrdiff_t i, double wanted, double tolerance) {
    const number actual = get(array, k, i);
    if (!(fabs(actual.re - wanted) <= tolerance)) {
        fprintf(stderr, "element %td: got %.17g, wanted %.17g within %g\n", i, actual.re, wanted, tolerance);
        fail("a result too far from the right one");
    }
}

void expect_bytes(const void *actual, const void *wanted, ptrdiff_t bytes) {
    if (memcmp(actual, wanted, (size_t)bytes))
        fail("wrong bytes");
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static const fuzz_case *const lists[] = {sum_cases, move_cases, row_cases, transform_cases, byte_cases};
enum { LISTS = sizeof(lists) / sizeof(lists[0]) };

static const fuzz_case *pick_case(void) {
    ptrdiff_t total = 0;
    for (int i = 0; i < LISTS; i++)
        for (const fuzz_case *c = lists[i]; c->name; c++)
            total += c->weight;
    ptrdiff_t at = pick(0, total - 1);
    for (int i = 0; i < LISTS; i++)
        for (const fuzz_case *c = lists[i]; c->name; c++)
            if ((at -= c->weight) < 0)
                return c;
    return NULL;
}

static void run_case(void) {
    const fuzz_case *c = pick_case();
    case_name = c->name;
    c->run(level);
    release();
}

#ifdef FUZZ_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const fc_level *levels[16];
    size_t n = 0;
    if (!memory)
        prepare();
    if (size < 1)
        return 0;
    for (int i = 0; fc_levels[i]; i++)
        if (fc_levels[i]->supported())
            levels[n++] = fc_levels[i];
    level = levels[data[0] % n];
    state = 1;
    drawn = data + 1;
    drawn_left = size - 1;
    run_case();
    case_number++;
    return 0;
}
#else
/* Runs cases from the number `first` on and writes "kernel calls" lines of them. A case that fails ends the process. */
int fuzz_run(const fc_level *of_level, long first, long cases, unsigned long long of_seed, char *text, size_t size) {
    size_t at = 0;
    level = of_level;
    seed = of_seed;
    if (!memory)
        prepare();
    memset(counts, 0, sizeof(counts));
    for (case_number = first; case_number < first + cases; case_number++) {
        state = seed * 0xD1342543DE82EF95u + (uint64_t)case_number * 0x2545F4914F6CDD1Du;
        run_case();
    }
    text[0] = 0;
    for (int i = 0; i < KERNELS && counts[i].name && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s %ld\n", counts[i].name, counts[i].calls);
    return at < size;
}
#endif
