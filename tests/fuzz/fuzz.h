/* Kernels against plain loops: what the cases share.
 *
 * A case draws its sizes and its data, lays every array between bytes that must not be touched, calls a kernel of a
 * level and compares all that it wrote with what nested loops make of the same numbers. Data are small whole numbers, so
 * that sums are exact in any order and equality can be asked for.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fastconv.h"

/* Element types; complex ones count as one element. */
typedef enum { F32, F64, C64, C128, U16, U32, U64, KINDS } kind;
extern const ptrdiff_t size_of[KINDS];

/* An element of any kind: the parts that its kind does not have are ignored. */
typedef struct {
    double re, im;
    uint64_t whole;
} number;

/* A number from least to most, both included. */
ptrdiff_t pick(ptrdiff_t least, ptrdiff_t most);
/* True once in so many times. */
int once_in(ptrdiff_t times);
uint64_t random_bits(void);

/* Memory of exactly so many bytes: in the bytes around it nothing can be read or written unnoticed. Holds ones, which
 * are NaN. What is aligned to more than 1 byte may have unguarded bytes of padding behind its end; they are looked at
 * when the case is over. */
void *fenced(ptrdiff_t bytes, ptrdiff_t alignment);
/* Fenced elements, small whole numbers in any order; integers of all sizes. */
void *operand(kind k, ptrdiff_t n, ptrdiff_t alignment);
/* A fenced table of n numbers. */
ptrdiff_t *table(ptrdiff_t n);

number get(const void *array, kind k, ptrdiff_t i);
void put(void *array, kind k, ptrdiff_t i, double value);
number plus_product(number sum, number a, number b);

/* End the program with a message unless an element is what it should be. */
void expect(const void *array, kind k, ptrdiff_t i, number wanted);
void expect_near(const void *array, kind k, ptrdiff_t i, double wanted, double tolerance);
void expect_bytes(const void *actual, const void *wanted, ptrdiff_t bytes);
void expect_true(int condition, const char *what);

/* The kernel that is about to be called, by its name in fc_level: for messages, and to be counted. */
void calling(const char *kernel);

static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t unit) { return (n + unit - 1) / unit * unit; }
static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t lesser(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline number zero(void) { return (number){0, 0, 0}; }

typedef struct {
    const char *name;
    void (*run)(const fc_level *level);
    int weight; /* how often it is taken, beside the others */
} fuzz_case;

/* Each list ends with a case without a name. */
extern const fuzz_case sum_cases[], move_cases[], row_cases[], transform_cases[], byte_cases[];

#endif
