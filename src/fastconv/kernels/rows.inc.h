/* The pack and store stages of rows, for each way an element is stored. */

/* Copies `half` to `2 * half` bytes: two pieces that overlap where they must. */
FC_INLINE void copy_halves(char *dst, const char *src, ptrdiff_t n, ptrdiff_t half) {
    char head[64], tail[64];
    __builtin_memcpy(head, src, (size_t)half);
    __builtin_memcpy(tail, src + n - half, (size_t)half);
    __builtin_memcpy(dst, head, (size_t)half);
    __builtin_memcpy(dst + n - half, tail, (size_t)half);
}

/* memcpy without a call: the rows of a layer's image are a few vectors long, and there are many of them. */
FC_INLINE void copy_bytes(char *dst, const char *src, ptrdiff_t n) {
    if (n > 1024) {
        __builtin_memcpy(dst, src, (size_t)n);
        return;
    }
    for (; n > 128; n -= 64, src += 64, dst += 64)
        __builtin_memcpy(dst, src, 64);
    if (n >= 64)
        copy_halves(dst, src, n, 64);
    else if (n >= 32)
        copy_halves(dst, src, n, 32);
    else if (n >= 16)
        copy_halves(dst, src, n, 16);
    else if (n >= 8)
        copy_halves(dst, src, n, 8);
    else if (n >= 4)
        copy_halves(dst, src, n, 4);
    else if (n >= 2)
        copy_halves(dst, src, n, 2);
}

FC_INLINE float half_to_float(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    union { uint32_t bits; float value; } f = {magnitude};
    f.value *= 0x1p112f; /* moves the exponent bias from 15 to 127, subnormals included */
    if (magnitude >= 0x7c00u << 13)
        f.bits = magnitude | 0x7f800000u;
    f.bits |= (uint32_t)(half & 0x8000) << 16;
    return f.value;
}

/* Rounds half to even. */
FC_INLINE uint16_t float_to_half(float value) {
    union { float value; uint32_t bits; } f = {value};
    const uint32_t sign = (f.bits >> 16) & 0x8000u, magnitude = f.bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u) { /* NaN: the upper bits of its payload, quiet */
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    } else if (magnitude >= 0x47800000u) { /* 2^16 and more */
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14: adding 1/2 lets the FPU round at the last subnormal bit */
        f.bits = magnitude;
        f.value += 0.5f;
        half = f.bits - 0x3f000000u;
    } else {
        half = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1)) >> 13;
    }
    return (uint16_t)(sign | half);
}

#define FC_NAME copy2
#define FC_COPY 1
#define FC_STORED uint16_t
#define FC_COMPUTED uint16_t
#define FC_LOAD(x) (x)
#define FC_STORE(x) (x)
#include "row.inc.h"

#define FC_NAME copy4
#define FC_COPY 1
#define FC_STORED uint32_t
#define FC_COMPUTED uint32_t
#define FC_LOAD(x) (x)
#define FC_STORE(x) (x)
#include "row.inc.h"

#define FC_NAME copy8
#define FC_COPY 1
#define FC_STORED uint64_t
#define FC_COMPUTED uint64_t
#define FC_LOAD(x) (x)
#define FC_STORE(x) (x)
#include "row.inc.h"

typedef uint64_t pair64 __attribute__((vector_size(16)));
#define FC_NAME copy16
#define FC_COPY 1
#define FC_STORED pair64
#define FC_COMPUTED pair64
#define FC_LOAD(x) (x)
#define FC_STORE(x) (x)
#include "row.inc.h"

#define FC_NAME u8_u16
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED uint16_t
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint8_t)(x))
#include "row.inc.h"

#define FC_NAME bool_f32
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED float
#define FC_LOAD(x) ((x) ? 1.0f : 0.0f)
#define FC_STORE(x) ((x) != 0)
#include "row.inc.h"

#define FC_NAME f16_f32
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED float
#define FC_LOAD(x) half_to_float(x)
#define FC_STORE(x) float_to_half(x)
#include "row.inc.h"

/* Integers in float lanes: cut towards zero when stored, by way of 32 or 64 bits as C does it on these machines. */

#define FC_NAME u8_f32
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint8_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME i8_f32
#define FC_COPY 0
#define FC_STORED int8_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int8_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME u16_f32
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint16_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME i16_f32
#define FC_COPY 0
#define FC_STORED int16_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int16_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME u8_f64
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint8_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME i8_f64
#define FC_COPY 0
#define FC_STORED int8_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int8_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME u16_f64
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint16_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME i16_f64
#define FC_COPY 0
#define FC_STORED int16_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int16_t)(int32_t)(x))
#include "row.inc.h"

#define FC_NAME u32_f64
#define FC_COPY 0
#define FC_STORED uint32_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint32_t)(int64_t)(x))
#include "row.inc.h"

#define FC_NAME i32_f64
#define FC_COPY 0
#define FC_STORED int32_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int32_t)(x))
#include "row.inc.h"

#define FC_NAME u64_f64
#define FC_COPY 0
#define FC_STORED uint64_t
#define FC_COMPUTED double
#define FC_LOAD(x) ((double)(x))
#define FC_STORE(x) ((x) < 0x1p63 ? (uint64_t)(int64_t)(x) : (uint64_t)(x))
#include "row.inc.h"

#define FC_NAME i64_f64
#define FC_COPY 0
#define FC_STORED int64_t
#define FC_COMPUTED double
#define FC_LOAD(x) ((double)(x))
#define FC_STORE(x) ((int64_t)(x))
#include "row.inc.h"

#define FC_NAME bool_f64
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED double
#define FC_LOAD(x) ((x) ? 1.0 : 0.0)
#define FC_STORE(x) ((x) >= 1 || (x) <= -1)
#include "row.inc.h"

#define FC_NAME f32_f64
#define FC_COPY 0
#define FC_STORED float
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((float)(x))
#include "row.inc.h"
