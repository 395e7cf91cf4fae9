/* What the kernel bodies share: names, unrolling, and the two shuffles that vector types leave to built-ins. */
#define FC_PASTE_(a, b) a##b
#define FC_PASTE(a, b) FC_PASTE_(a, b)
#define FC_STRING_(a) #a
#define FC_STRING(a) FC_STRING_(a)

#ifdef FC_SMALL
#define FC_INLINE static inline
#else
#define FC_INLINE static inline __attribute__((always_inline))
#endif

/* A name of the type at hand: FC_ID(direct) is direct_f32 while FC_NAME is f32. */
#define FC_ID(name) FC_PASTE(FC_PASTE(name, _), FC_NAME)

/* Accumulators stay in registers only when every loop over them is unrolled. */
#ifdef FC_SMALL
#define FC_UNROLL
#elif defined(__clang__)
#define FC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FC_UNROLL _Pragma("GCC unroll 32")
#endif

/* The value of a vector, of which the compiler knows nothing more: it can neither load it again nor contract the product
 * it is with a sum. */
#if defined(__x86_64__)
#define FC_OPAQUE(vector) __asm__("" : "+v"(vector))
#elif defined(__aarch64__)
#define FC_OPAQUE(vector) __asm__("" : "+w"(vector))
#else
#define FC_OPAQUE(vector) __asm__("" : "+m"(vector))
#endif

/* Element order of: neighbours swapped; the lower (upper) halves of two vectors, alternating. */
#define FC_SWAP_2 1, 0
#define FC_SWAP_4 1, 0, 3, 2
#define FC_SWAP_8 FC_SWAP_4, 5, 4, 7, 6
#define FC_SWAP_16 FC_SWAP_8, 9, 8, 11, 10, 13, 12, 15, 14
#define FC_LOW_2 0, 2
#define FC_LOW_4 0, 4, 1, 5
#define FC_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define FC_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FC_HIGH_2 1, 3
#define FC_HIGH_4 2, 6, 3, 7
#define FC_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define FC_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* The even (odd) elements of two vectors. */
#define FC_EVEN_2 0, 2
#define FC_EVEN_4 0, 2, 4, 6
#define FC_EVEN_8 FC_EVEN_4, 8, 10, 12, 14
#define FC_EVEN_16 FC_EVEN_8, 16, 18, 20, 22, 24, 26, 28, 30
#define FC_ODD_2 1, 3
#define FC_ODD_4 1, 3, 5, 7
#define FC_ODD_8 FC_ODD_4, 9, 11, 13, 15
#define FC_ODD_16 FC_ODD_8, 17, 19, 21, 23, 25, 27, 29, 31

/* The even elements of two vectors of which the second begins with the last element of the first. */
#define FC_APART_2 0, 3
#define FC_APART_4 0, 2, 5, 7
#define FC_APART_8 FC_EVEN_4, 9, 11, 13, 15
#define FC_APART_16 FC_EVEN_8, 17, 19, 21, 23, 25, 27, 29, 31

#define FC_PAIR_2 0, 1
#define FC_PAIR_4 FC_PAIR_2, 0, 1
#define FC_PAIR_8 FC_PAIR_4, 0, 1, 0, 1
#define FC_PAIR_16 FC_PAIR_8, 0, 1, 0, 1, 0, 1, 0, 1

/* The list for a vector of 4- or of 8-byte elements. */
#if FC_VECTOR_BYTES == 64
#define FC_LIST_4(list) list##_16
#define FC_LIST_8(list) list##_8
#elif FC_VECTOR_BYTES == 32
#define FC_LIST_4(list) list##_8
#define FC_LIST_8(list) list##_4
#else
#define FC_LIST_4(list) list##_4
#define FC_LIST_8(list) list##_2
#endif

/* (a, b, a, b, ...) */
#define FC_PAIRS(a, b) __builtin_shufflevector((FC_ID(vec)){a, b}, (FC_ID(vec)){a, b}, FC_LIST(FC_PAIR))
