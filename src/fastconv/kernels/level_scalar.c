/* The level that runs everywhere: vector types of 16 bytes as the compiler's own target makes them. */
#include <stdint.h>

#include "fastconv.h"

static int fc_supported_scalar(void) { return 1; }

/* Where every CPU of the last fifteen years has a better level, nobody waits for this one: loops stay loops, which is an
 * eighth of the code and of the compiler's time. */
#if defined(__x86_64__) || defined(__aarch64__)
#define FC_SMALL
#ifdef __clang__
#pragma clang attribute push(__attribute__((minsize)), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC optimize("Os")
#endif
#endif

#define FC_LEVEL scalar
#define FC_VECTOR_BYTES 16
#define FC_DIRECT_ROWS 2
#define FC_DIRECT_VECTORS 2
#define FC_GEMM_PIXELS 4
#define FC_GEMM_VECTORS 2
#define FC_PIXELS_ROWS 2
#define FC_PIXELS_VECTORS 3
#define FC_INT8 plain
#define FC_INT8_PIXELS 1
#define FC_INT8_CHUNK 1
#include "level.inc.h"

#ifdef FC_SMALL
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
