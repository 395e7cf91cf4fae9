/* Levels as the x86-64 psABI defines them (x86-64-v2, -v3, -v4), read from cpuid. A register file also needs the
 * operating system, which saves it on a context switch only if xgetbv says so. */
#include <stddef.h>

#include "cpu.h"
#include "fastconv.h"

#if defined(__x86_64__)
#include <cpuid.h>

typedef struct { unsigned a, b, c, d; } registers;

static registers leaf(unsigned number) {
    registers r = {0, 0, 0, 0};
    if (!__get_cpuid_count(number, 0, &r.a, &r.b, &r.c, &r.d))
        r = (registers){0, 0, 0, 0};
    return r;
}

static int has(unsigned word, unsigned bits) { return (word & bits) == bits; }

/* XCR0: bits 1 and 2 are the XMM and YMM state, 5 to 7 the mask and ZMM state. */
static int system_saves(unsigned state) {
    if (!has(leaf(1).c, bit_OSXSAVE))
        return 0;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return has(low, state);
}

int fc_cpu_has_x86_v2(void) { return has(leaf(1).c, bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT); }

int fc_cpu_has_x86_v3(void) {
    return fc_cpu_has_x86_v2() && has(leaf(1).c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE) &&
           has(leaf(7).b, bit_AVX2 | bit_BMI | bit_BMI2) && has(leaf(0x80000001).c, bit_LZCNT) && system_saves(0x06);
}

int fc_cpu_has_x86_v4(void) {
    return fc_cpu_has_x86_v3() &&
           has(leaf(7).b, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL) &&
           system_saves(0xe6);
}

extern const fc_level fc_level_x86_v4, fc_level_x86_v3, fc_level_x86_v2;
#elif defined(__aarch64__)
extern const fc_level fc_level_neon;
#endif
extern const fc_level fc_level_scalar;

const fc_level *const fc_levels[] = {
#if defined(__x86_64__)
    &fc_level_x86_v4,
    &fc_level_x86_v3,
    &fc_level_x86_v2,
#elif defined(__aarch64__)
    &fc_level_neon,
#endif
    &fc_level_scalar,
    NULL,
};
