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

/* Every second one of elements of 4 and of 8 bytes: n of them, at least a vector. None behind the last is touched: the
 * second vector of samples begins with the last sample of the first. */
typedef float floats_at __attribute__((vector_size(FC_VECTOR_BYTES), aligned(1), may_alias));
typedef float floats __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef double doubles_at __attribute__((vector_size(FC_VECTOR_BYTES), aligned(1), may_alias));
typedef double doubles __attribute__((vector_size(FC_VECTOR_BYTES)));

FC_INLINE void copy_every_second_4(char *dst, const char *src, ptrdiff_t n) {
    enum { LANES = FC_VECTOR_BYTES / 4 };
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t at = i < n - LANES ? i : n - LANES;
        const floats_at *from = (const floats_at *)(src + 8 * at);
        const floats a = *from, b = *(const floats_at *)((const char *)from + 4 * (LANES - 1));
        *(floats_at *)(dst + 4 * at) = __builtin_shufflevector(a, b, FC_LIST_4(FC_APART));
    }
}

FC_INLINE void copy_every_second_8(char *dst, const char *src, ptrdiff_t n) {
    enum { LANES = FC_VECTOR_BYTES / 8 };
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t at = i < n - LANES ? i : n - LANES;
        const doubles_at *from = (const doubles_at *)(src + 16 * at);
        const doubles a = *from, b = *(const doubles_at *)((const char *)from + 8 * (LANES - 1));
        *(doubles_at *)(dst + 8 * at) = __builtin_shufflevector(a, b, FC_LIST_8(FC_APART));
    }
}

FC_INLINE int32_t float_bits(float value) {
    int32_t bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    return bits;
}

FC_INLINE float float_of(int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Without branches, so that loops become vector code: all ones where true. */
FC_INLINE int32_t mask_of(int condition) { return -(int32_t)condition; }

FC_INLINE float half_to_float(uint16_t half) {
    const int32_t magnitude = (int32_t)(half & 0x7fff) << 13, sign = (int32_t)((uint32_t)(half & 0x8000) << 16);
    /* The product moves the exponent's bias from 15 to 127, subnormals included. */
    const int32_t special = mask_of(magnitude >= 0x7c00 << 13) & 0x7f800000;
    return float_of(float_bits(float_of(magnitude) * 0x1p112f) | special | sign);
}

/* Rounds half to even. */
FC_INLINE uint16_t float_to_half(float value) {
    const int32_t bits = float_bits(value), magnitude = bits & 0x7fffffff;
    const int32_t sign = (int32_t)((uint32_t)bits >> 16) & 0x8000;
    const int32_t normal = (int32_t)((uint32_t)magnitude + 0xc8000fffu + (((uint32_t)magnitude >> 13) & 1)) >> 13;
    /* Below 2^-14: adding 1/2 lets the FPU round at the last subnormal bit. */
    const int32_t small = float_bits(float_of(magnitude) + 0.5f) - 0x3f000000;
    /* Of a NaN the upper bits of its payload, quiet. */
    const int32_t nan = 0x7e00 | ((magnitude >> 13) & 0x3ff);
    const int32_t is_small = mask_of(magnitude < 0x38800000), is_large = mask_of(magnitude >= 0x47800000);
    const int32_t is_nan = mask_of(magnitude > 0x7f800000);
    const int32_t large = (is_nan & nan) | (~is_nan & 0x7c00);
    return (uint16_t)(sign | (is_large & large) | (is_small & small) | (~(is_small | is_large) & normal));
}

/* Eight halves at a time where the CPU converts them. Only built-ins reach its instructions: GCC 12 makes scalar ones of
 * _Float16, and clang 14 does not know it on x86. */
#if defined(__x86_64__) && FC_VECTOR_BYTES >= 32
typedef short half8 __attribute__((vector_size(16), aligned(1), may_alias));
typedef short half8_register __attribute__((vector_size(16)));
typedef float float8 __attribute__((vector_size(32), aligned(1), may_alias));
typedef float float8_register __attribute__((vector_size(32)));

FC_INLINE void halves_to_floats(char *dst, const char *src, ptrdiff_t n) {
    char halves[16] = {0}, floats[32];
    for (; n >= 8; n -= 8, src += 16, dst += 32)
        *(float8 *)dst = __builtin_ia32_vcvtph2ps256((half8_register) * (const half8 *)src);
    __builtin_memcpy(halves, src, (size_t)n * 2);
    *(float8 *)floats = __builtin_ia32_vcvtph2ps256((half8_register) * (const half8 *)halves);
    __builtin_memcpy(dst, floats, (size_t)n * 4);
}

FC_INLINE void floats_to_halves(char *dst, const char *src, ptrdiff_t n) {
    char halves[16], floats[32] = {0};
    for (; n >= 8; n -= 8, src += 32, dst += 16)
        *(half8 *)dst = __builtin_ia32_vcvtps2ph256((float8_register) * (const float8 *)src, 0);
    __builtin_memcpy(floats, src, (size_t)n * 4);
    *(half8 *)halves = __builtin_ia32_vcvtps2ph256((float8_register) * (const float8 *)floats, 0);
    __builtin_memcpy(dst, halves, (size_t)n * 2);
}
#else
FC_INLINE void halves_to_floats(char *dst, const char *src, ptrdiff_t n) {
    typedef uint16_t half __attribute__((aligned(1), may_alias));
    typedef float number __attribute__((may_alias));
    for (ptrdiff_t i = 0; i < n; i++)
        ((number *)dst)[i] = half_to_float(((const half *)src)[i]);
}

FC_INLINE void floats_to_halves(char *dst, const char *src, ptrdiff_t n) {
    typedef uint16_t half __attribute__((aligned(1), may_alias));
    typedef float number __attribute__((may_alias));
    for (ptrdiff_t i = 0; i < n; i++)
        ((half *)dst)[i] = float_to_half(((const number *)src)[i]);
}
#endif

FC_INLINE float bfloat_to_float(uint16_t half) { return float_of((int32_t)((uint32_t)half << 16)); }

/* Rounds half to even; a NaN is made quiet, and keeps the upper bits of its payload. */
FC_INLINE uint16_t float_to_bfloat(float value) {
    const uint32_t bits = (uint32_t)float_bits(value);
    const uint32_t is_nan = (uint32_t)mask_of((int32_t)(bits & 0x7fffffff) > 0x7f800000);
    const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return (uint16_t)(((is_nan & (bits | 0x400000)) | (~is_nan & rounded)) >> 16);
}

/* A double as a float that rounds to fewer bits as the double does: what is cut off leaves a mark in the last bit. */
FC_INLINE float double_to_odd(double value) {
    const float near = (float)value;
    const int32_t bits = float_bits(near);
    /* Towards zero, then odd, unless it is exact, or not finite. */
    const int inexact = (double)near != value && (bits & 0x7f800000) != 0x7f800000;
    const int beyond = __builtin_fabs((double)near) > __builtin_fabs(value);
    const int32_t odd = (bits - beyond) | 1;
    return float_of(inexact ? odd : bits);
}

FC_INLINE int64_t double_bits(double value) {
    int64_t bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    return bits;
}

FC_INLINE double double_of(int64_t bits) {
    double value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The largest integer where a number is beyond it. */
FC_INLINE uint32_t top32(int beyond, uint32_t most, uint32_t value) {
    const uint32_t mask = -(uint32_t)beyond;
    return (mask & most) | (~mask & value);
}

FC_INLINE uint64_t top64(int beyond, uint64_t most, uint64_t value) {
    const uint64_t mask = -(uint64_t)beyond;
    return (mask & most) | (~mask & value);
}

/* order: integers that are ordered as the numbers are, with 0 for NaN. whole: a number rounded half to even and kept from
 * least to most, both whole, 0 where NaN. From 2^23 (2^52) on all numbers are whole; below, adding that leaves no
 * fraction. In integers, because a loop with comparisons of floats would not become vector code: they may trap. */
FC_INLINE int32_t float_order(float value) {
    const int32_t bits = float_bits(value), magnitude = bits & INT32_MAX;
    return (bits ^ (bits >> 31 & INT32_MAX)) & ~-(int32_t)(magnitude > 0x7f800000);
}

FC_INLINE float float_whole(float y, float least, float most) {
    const int32_t low = float_order(least), high = float_order(most);
    int32_t order = float_order(y);
    order = order < low ? low : order;
    order = order > high ? high : order;
    const int32_t bits = order ^ (order >> 31 & INT32_MAX), magnitude = bits & INT32_MAX;
    const float kept = float_of(bits), shift = float_of((bits & INT32_MIN) | float_bits(0x1p23f));
    const int32_t has_fraction = -(int32_t)(magnitude < float_bits(0x1p23f));
    return float_of((has_fraction & float_bits((kept + shift) - shift)) | (~has_fraction & bits));
}

FC_INLINE int64_t double_order(double value) {
    const int64_t bits = double_bits(value), magnitude = bits & INT64_MAX;
    return (bits ^ (bits >> 63 & INT64_MAX)) & ~-(int64_t)(magnitude > 0x7ff0000000000000);
}

FC_INLINE double double_whole(double y, double least, double most) {
    const int64_t low = double_order(least), high = double_order(most);
    int64_t order = double_order(y);
    order = order < low ? low : order;
    order = order > high ? high : order;
    const int64_t bits = order ^ (order >> 63 & INT64_MAX), magnitude = bits & INT64_MAX;
    const double kept = double_of(bits), shift = double_of((bits & INT64_MIN) | double_bits(0x1p52));
    const int64_t has_fraction = -(int64_t)(magnitude < double_bits(0x1p52));
    return double_of((has_fraction & double_bits((kept + shift) - shift)) | (~has_fraction & bits));
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
#define FC_LOAD_RUN halves_to_floats
#define FC_STORE_RUN floats_to_halves
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

#define FC_NAME bf16_f32
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED float
#define FC_LOAD(x) bfloat_to_float(x)
#define FC_STORE(x) float_to_bfloat(x)
#include "row.inc.h"

/* Integers that are rounded and kept within their range. The largest of the wide ones is no float: it is put in later. */

#define FC_NAME round_u8_f32
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint8_t)(int32_t)float_whole(x, 0, 255))
#include "row.inc.h"

#define FC_NAME round_i8_f32
#define FC_COPY 0
#define FC_STORED int8_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int8_t)(int32_t)float_whole(x, -128, 127))
#include "row.inc.h"

#define FC_NAME round_u16_f32
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint16_t)(int32_t)float_whole(x, 0, 65535))
#include "row.inc.h"

#define FC_NAME round_i16_f32
#define FC_COPY 0
#define FC_STORED int16_t
#define FC_COMPUTED float
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int16_t)(int32_t)float_whole(x, -32768, 32767))
#include "row.inc.h"

#define FC_NAME round_u32_f32
#define FC_COPY 0
#define FC_STORED uint32_t
#define FC_COMPUTED float
#define FC_LOAD(x) ((float)(x))
#define FC_STORE(x) ((uint32_t)top32(float_order(x) >= float_bits(0x1p32f), UINT32_MAX, \
    (uint32_t)(int64_t)float_whole(x, 0, 0x1.fffffep31f)))
#include "row.inc.h"

#define FC_NAME round_i32_f32
#define FC_COPY 0
#define FC_STORED int32_t
#define FC_COMPUTED float
#define FC_LOAD(x) ((float)(x))
#define FC_STORE(x) ((int32_t)top32(float_order(x) >= float_bits(0x1p31f), INT32_MAX, \
    (int32_t)float_whole(x, -0x1p31f, 0x1.fffffep30f)))
#include "row.inc.h"

#define FC_NAME round_u64_f32
#define FC_COPY 0
#define FC_STORED uint64_t
#define FC_COMPUTED float
#define FC_LOAD(x) ((float)(x))
#define FC_STORE(x) ((uint64_t)top64(float_order(x) >= float_bits(0x1p64f), UINT64_MAX, \
    (uint64_t)float_whole(x, 0, 0x1.fffffep63f)))
#include "row.inc.h"

#define FC_NAME round_i64_f32
#define FC_COPY 0
#define FC_STORED int64_t
#define FC_COMPUTED float
#define FC_LOAD(x) ((float)(x))
#define FC_STORE(x) ((int64_t)top64(float_order(x) >= float_bits(0x1p63f), INT64_MAX, \
    (int64_t)float_whole(x, -0x1p63f, 0x1.fffffep62f)))
#include "row.inc.h"

#define FC_NAME round_u8_f64
#define FC_COPY 0
#define FC_STORED uint8_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint8_t)(int32_t)double_whole(x, 0, 255))
#include "row.inc.h"

#define FC_NAME round_i8_f64
#define FC_COPY 0
#define FC_STORED int8_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int8_t)(int32_t)double_whole(x, -128, 127))
#include "row.inc.h"

#define FC_NAME round_u16_f64
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint16_t)(int32_t)double_whole(x, 0, 65535))
#include "row.inc.h"

#define FC_NAME round_i16_f64
#define FC_COPY 0
#define FC_STORED int16_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int16_t)(int32_t)double_whole(x, -32768, 32767))
#include "row.inc.h"

#define FC_NAME round_u32_f64
#define FC_COPY 0
#define FC_STORED uint32_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((uint32_t)(int64_t)double_whole(x, 0, 4294967295.0))
#include "row.inc.h"

#define FC_NAME round_i32_f64
#define FC_COPY 0
#define FC_STORED int32_t
#define FC_COMPUTED double
#define FC_LOAD(x) (x)
#define FC_STORE(x) ((int32_t)double_whole(x, -0x1p31, 2147483647.0))
#include "row.inc.h"

#define FC_NAME round_u64_f64
#define FC_COPY 0
#define FC_STORED uint64_t
#define FC_COMPUTED double
#define FC_LOAD(x) ((double)(x))
#define FC_STORE(x) ((uint64_t)top64(double_order(x) >= double_bits(0x1p64), UINT64_MAX, \
    (uint64_t)double_whole(x, 0, 0x1.fffffffffffffp63)))
#include "row.inc.h"

#define FC_NAME round_i64_f64
#define FC_COPY 0
#define FC_STORED int64_t
#define FC_COMPUTED double
#define FC_LOAD(x) ((double)(x))
#define FC_STORE(x) ((int64_t)top64(double_order(x) >= double_bits(0x1p63), INT64_MAX, \
    (int64_t)double_whole(x, -0x1p63, 0x1.fffffffffffffp62)))
#include "row.inc.h"

/* Floating types of other widths. */

#define FC_NAME f64_f32
#define FC_COPY 0
#define FC_STORED double
#define FC_COMPUTED float
#define FC_LOAD(x) ((float)(x))
#define FC_STORE(x) (x)
#include "row.inc.h"

#define FC_NAME f16_f64
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED double
#define FC_LOAD(x) half_to_float(x)
#define FC_STORE(x) float_to_half(double_to_odd(x))
#include "row.inc.h"

#define FC_NAME bf16_f64
#define FC_COPY 0
#define FC_STORED uint16_t
#define FC_COMPUTED double
#define FC_LOAD(x) bfloat_to_float(x)
#define FC_STORE(x) float_to_bfloat(double_to_odd(x))
#include "row.inc.h"
