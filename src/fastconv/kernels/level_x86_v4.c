/* AVX-512: 32 registers of 64 bytes; and twice the same with other instructions for bytes. */
#include <stdint.h>

#include "cpu.h"
#include "fastconv.h"

#if defined(__x86_64__)
#include <immintrin.h>

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
#define FC_INT8 madd
#define FC_INT8_MADD
#define FC_INT8_PIXELS 6
#define FC_INT8_CHUNK 1
#include "level.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#undef FC_INT8_MADD
#define FC_TABLE_ONLY

/* VNNI: four products of bytes and their sum in one instruction. */
#undef FC_LEVEL
#undef FC_INT8
#undef FC_INT8_PIXELS
#undef FC_INT8_CHUNK
static int fc_supported_x86_v4_vnni(void) { return fc_cpu_has_x86_v4_vnni(); }

#ifdef __clang__
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,avx512vnni,prefer-vector-width=512")
#endif

#define FC_LEVEL x86_v4_vnni
#define FC_INT8 vnni
#define FC_INT8_VNNI
#define FC_INT8_PIXELS 7
#define FC_INT8_CHUNK 1
#include "int8.inc.h"
#include "level.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* AMX: matrices of 16 x 64 bytes. */
#undef FC_LEVEL
#undef FC_INT8
#undef FC_INT8_PIXELS
#undef FC_INT8_CHUNK
static int fc_supported_x86_v4_amx(void) { return fc_cpu_has_x86_v4_amx(); }

#ifdef __clang__
#pragma clang attribute push(__attribute__((min_vector_width(512))), apply_to = function)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,amx-tile,amx-int8"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,amx-tile,amx-int8,prefer-vector-width=512")
#endif

#define FC_LEVEL x86_v4_amx
#define FC_INT8 amx
#define FC_INT8_PIXELS 16
#define FC_INT8_CHUNK 16
#include "int8_amx.inc.h"
#include "level.inc.h"

#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
