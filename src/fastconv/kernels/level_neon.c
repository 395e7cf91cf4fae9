/* AArch64, where NEON and its multiply-add are part of the base: 32 registers of 16 bytes. */
#include <stdint.h>

#include "fastconv.h"

#if defined(__aarch64__)
static int fc_supported_neon(void) { return 1; }

#define FC_LEVEL neon
#define FC_VECTOR_BYTES 16
#define FC_DIRECT_ROWS 4
#define FC_DIRECT_VECTORS 4
#define FC_GEMM_PIXELS 12
#define FC_GEMM_VECTORS 2
#define FC_PIXELS_ROWS 8
#define FC_PIXELS_VECTORS 3
#define FC_INT8 plain
#define FC_INT8_PIXELS 4
#define FC_INT8_CHUNK 1
#include "level.inc.h"
#endif
