/* Levels as the x86-64 psABI defines them (x86-64-v2, -v3, -v4), read from cpuid. A register file also needs the
 * operating system, which saves it on a context switch only if xgetbv says so. */
/* For syscall. */
#define _DEFAULT_SOURCE
#include <stddef.h>
#include <string.h>

#include "cpu.h"
#include "fastconv.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef struct { unsigned a, b, c, d; } registers;

static registers leaf(unsigned number) {
    registers r = {0, 0, 0, 0};
    if (!__get_cpuid_count(number, 0, &r.a, &r.b, &r.c, &r.d))
        r = (registers){0, 0, 0, 0};
    return r;
}

void fc_cpu_maker(char name[13]) {
    const registers r = leaf(0);
    memcpy(name, &r.b, 4);
    memcpy(name + 4, &r.d, 4);
    memcpy(name + 8, &r.c, 4);
    name[12] = 0;
}

static int has(unsigned word, unsigned bits) { return (word & bits) == bits; }

/* XCR0: bits 1 and 2 are the XMM and YMM state, 5 to 7 the mask and ZMM state, 17 and 18 the tiles of AMX. */
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

/* The levels of x86_v4 with other instructions for bytes; no level of the psABI. */
int fc_cpu_has_x86_v4_vnni(void) { return fc_cpu_has_x86_v4() && has(leaf(7).c, bit_AVX512VNNI); }

/* Linux keeps the tiles from a process that has not asked for them: their 8 KiB are then saved on every switch of
 * context that finds them in use, and on the stack of every signal. It is asked once, and may refuse. */
static int system_grants_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, UNKNOWN = -1 };
    static atomic_int granted = UNKNOWN;
    int answer = atomic_load(&granted);
    if (answer == UNKNOWN) {
        answer = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
        atomic_store(&granted, answer);
    }
    return answer;
#else
    return 0;
#endif
}

int fc_cpu_has_x86_v4_amx(void) {
    /* Bits of AMX-TILE and AMX-INT8, which cpuid.h may not know. */
    return fc_cpu_has_x86_v4_vnni() && has(leaf(7).d, 1u << 24 | 1u << 25) && system_saves(0x60000) &&
           system_grants_tiles();
}

extern const fc_level fc_level_x86_v4_amx, fc_level_x86_v4_vnni;
extern const fc_level fc_level_x86_v4, fc_level_x86_v3, fc_level_x86_v2;
#else
void fc_cpu_maker(char name[13]) { name[0] = 0; }
#endif
#if defined(__aarch64__)
extern const fc_level fc_level_neon;
#endif
extern const fc_level fc_level_scalar;

const fc_level *const fc_levels[] = {
#if defined(__x86_64__)
    &fc_level_x86_v4_amx,
    &fc_level_x86_v4_vnni,
    &fc_level_x86_v4,
    &fc_level_x86_v3,
    &fc_level_x86_v2,
#elif defined(__aarch64__)
    &fc_level_neon,
#endif
    &fc_level_scalar,
    NULL,
};
