/* AVX-512: 32 registers of 64 bytes. */
#include <stdint.h>

#include "cpu.h"
#include "fastconv.h"

#if defined(__x86_64__)
static int fc_supported_x86_v4(void) { return fc_cpu_has_x86_v4(); }

#ifdef __clang__
/* Without min_vector_width, clang cuts 64-byte vectors in two. */
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,prefer-vector-width=512")
#endif

#define FC_LEVEL x86_v4
#define FC_VECTOR_BYTES 64
#define FC_DIRECT_ROWS 4
#define FC_DIRECT_VECTORS 4
#define FC_GEMM_PIXELS 14
#define FC_GEMM_VECTORS 2
#define FC_PIXELS_ROWS 8
#define FC_PIXELS_VECTORS 3
#include "level.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
