"""Every number that was chosen by measuring, in one table.

Measured on an Intel Xeon of the Emerald Rapids generation (48 KiB L1, 2 MiB L2 a core, AVX-512, one thread at
160 GFLOP/s of float32 multiply-adds) unless a line says otherwise. A number may change speed, never a result.
"""

from typing import Final

# --- threads -------------------------------------------------------------------------------------------------------

# Multiply-adds that pay for one thread. Waking a libgomp worker takes 5 to 50 us; this is about 50 us of float32.
THREAD_WORK: Final = 4.0e6

# Between two looks at Python's signals. Ctrl-C has to answer within 0.1 s, and a look takes the GIL.
POLL_SECONDS: Final = 0.04

# --- direct ----------------------------------------------------------------------------------------------------------

# Output rows and bytes of a row in a tile. The rows in flight (tile rows of the register tile plus kernel rows) stay
# in L1 at 2 KiB a row, and a row of 512 floats still reads as a stream.
DIRECT_TILE_ROWS: Final = 32
DIRECT_TILE_ROW_BYTES: Final = 2048

# Bytes of a packed tile, all channels and the halo: a quarter of a 1 MiB L2. Rows are given up before columns.
DIRECT_PACKED_BYTES: Final = 256 * 1024

# Bytes of packed weights a thread holds; output channels are taken in blocks that fit.
DIRECT_WEIGHT_BYTES: Final = 256 * 1024

# Multiply-adds in a tile and between two looks at the clock: a few milliseconds, so that Ctrl-C answers within 0.1 s.
TILE_WORK: Final = 200_000_000
POLL_WORK: Final = 2_000_000

# Multiply-adds in a work item: small depthwise images are grouped until an item is worth its set-up (about 0.1 us).
ITEM_WORK: Final = 500_000

# With fewer bands of rows than this, threads could not share them evenly.
FEW_BANDS: Final = 16

# Products an output and outputs along an axis that a plan makes tables for; beyond them only the definition serves.
TABLE_LIMIT: Final = 2**24
AXIS_LIMIT: Final = 2**32

# --- passes along single axes ----------------------------------------------------------------------------------------

# Kernels of more rows have them packed: in an image of 1024 columns they would all want the same few sets of L1.
SEPARABLE_PLAIN_ROWS: Final = 16

# A row that is longer is cut into columns of half that.
SEPARABLE_ROW_BYTES: Final = 32 * 1024

# Scratch memory of a tile: its packed rows, the middle and a box's sums share L2. Kernels of many rows want tall tiles:
# every tile packs the rows that its kernel reaches once more.
SEPARABLE_TILE_BYTES: Final = 1280 * 1024

# A box's sums of one kind stay in L1, as strips of a tile or as a few of its rows.
SEPARABLE_BOX_BYTES: Final = 32 * 1024

# Rows of a tile over the rows that its kernel reaches beyond it, where those are filtered or packed once more.
SEPARABLE_BOX_ROWS: Final = 2

# Trailing axes of no more elements than these are filtered along with the axis in front of them, as RGB is.
SEPARABLE_INNER: Final = 16

# Bytes of weights that a remembered filter may hold.
REMEMBERED_BYTES: Final = 64 * 1024

# --- implicit GEMM ---------------------------------------------------------------------------------------------------

# Bytes of a packed tile of input, all channels of a group and the halo. From 40 to 448 KiB the time of 256 channels of
# 56 x 56 with 3 x 3 falls from 28 to 23 ms, that of smaller layers is flat above 192.
GEMM_PACKED_BYTES: Final = 448 * 1024

# A packed row is reused by every kernel row, so more rows mean less packing, but also fewer tiles for threads.
GEMM_TILE_ROWS: Final = 8
GEMM_TILE_COLUMNS: Final = 64

# Bytes of packed weights: what a block of output channels may take of L2.
GEMM_WEIGHT_BYTES: Final = 1200 * 1024

# One panel and one packed tile may be larger than their blocks, up to this; beyond it the plan refuses GEMM.
GEMM_LIMIT_BYTES: Final = 3 * 1024 * 1024

# --- cost model, in vector multiply-adds at the peak ----------------------------------------------------------------

# Share of the peak that the kernels reach on full tiles.
DIRECT_EFFICIENCY: Final = 0.55
GEMM_EFFICIENCY: Final = 0.97
# What storing a register tile costs, as reduction steps of it: the transposition and the masked stores.
GEMM_STORE_STEPS: Final = 12.0
