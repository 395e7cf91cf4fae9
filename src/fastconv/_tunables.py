"""Every number that was chosen by measuring, in one table.

Measured on an Intel Xeon of the Emerald Rapids generation (48 KiB L1, 2 MiB L2 a core, AVX-512, one thread at
160 GFLOP/s of float32 multiply-adds) unless a line says otherwise. A number may change speed, never a result.
"""

from typing import Final

# --- threads -------------------------------------------------------------------------------------------------------

# Multiply-adds that pay for one thread. Waking a libgomp worker takes 5 to 50 us; this is about 50 us of float32.
THREAD_WORK: Final = 4.0e6

# Seconds of a multiply-add where a call's time is estimated: that of float32 on one thread.
WORK_SECONDS: Final = 1 / 80e9

# Shares of the items that each thread gets on average, where a thread takes runs of items: the last one leaves the
# others with nothing to do for a sixteenth of their time at most, by two threads.
THREAD_SHARES: Final = 8

# Tiles of an image up to which an even number of them matters: 56 rows by 7 tiles of 8 are 1.75 times as fast on two
# threads at best, by 8 tiles of 7 twice.
FEW_SHARES: Final = 16

# Multiply-adds that take as long as reading a sample or writing a result, 0.1 ns: depthwise layers of 96 x 112 x 112
# take 0.3 ms for 2.7 million products.
ELEMENT_WORK: Final = 8.0

# Python threads that may have OpenMP's workers at a time.
THREAD_POOLS: Final = 4

# What the calling thread spins at a region's end before it sleeps: about what a wake-up takes.
JOIN_SPIN_SECONDS: Final = 50e-6

# A region that took this much longer than one thread would have makes the calls after it use fewer threads, first for
# so long, and at least for a multiple of the loss; each time that it happens again soon twice as long, up to a bound.
BACKOFF_LEAST_SECONDS: Final = 30e-6
BACKOFF_FIRST_SECONDS: Final = 0.02
BACKOFF_PRICE: Final = 16.0
BACKOFF_MOST_SECONDS: Final = 2.0

# Unless the regions before it saved more than so many times the loss. What they saved counts up to a bound, so that a
# core that others begin to want is given up after a few calls. Without this, the hiccups of a virtual machine, some
# milliseconds now and then, kept layers of 1 ms on one thread for more than half of the time.
BACKOFF_WEIGHT: Final = 2.0
BACKOFF_MOST_SAVED: Final = 0.02

# Between two looks at Python's signals. Ctrl-C has to answer within 0.1 s, and a look takes the GIL.
POLL_SECONDS: Final = 0.04

# --- plans -----------------------------------------------------------------------------------------------------------

# Shapes whose schedules a plan keeps, some KiB each, and packings of its weights. Layers of 3 x 3 want three at most
# (two tiles of Winograd's and GEMM's panels), with accuracy="fast" five.
PLAN_SHAPES: Final = 64
PLAN_FORMATS: Final = 6

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

# --- depthwise, lanes = channels ------------------------------------------------------------------------------------

# Output rows of a work item, and of a call of the kernel where input and result are no more bytes than these, so that
# both stay in L2: 384 channels of 14 x 14 with 3 x 3 take 19 us at 1 row, 16 us at 7. Larger images are read as a
# stream, a few rows at a time: 96 channels of 112 x 112 with stride 2 take 300 us at 1 row, 390 us at 2, 460 us at 7.
DEPTHWISE_ROWS: Final = 8
DEPTHWISE_IMAGE_BYTES: Final = 1024 * 1024

# Output columns of a work item, whose addresses are in the table; the table of a window that spans more is refused.
DEPTHWISE_COLUMNS: Final = 256
DEPTHWISE_TABLE_BYTES: Final = 1024 * 1024

# Bytes of the rows of a vector of channels that are gathered together; their results are as many.
DEPTHWISE_GATHERED_BYTES: Final = 512 * 1024

# Work items to make of a single image, by parting its channels.
DEPTHWISE_ITEMS: Final = 8

# Products an output, which keep a work item within some milliseconds.
DEPTHWISE_TAPS: Final = 1024

# --- short last axes -------------------------------------------------------------------------------------------------

# Samples behind the last axis that a kernel slides along, such as the colours of a picture, are taken together with
# it up to so many bytes: a row of a few samples would leave most lanes of a vector empty.
MERGED_BYTES: Final = 1024

# A last axis of fewer samples is turned to the front, if the axes behind the longest have at most so many. A call takes
# 7 us more, and a sample 1 ns each way, so all rows together must have this many samples less than so long ones.
TURNED_ROW: Final = 16
TURNED_COLUMNS: Final = 64
TURNED_LEAST: Final = 6000

# What is turned at a time, of which L1 holds the source and the copy. An element takes as long as so many
# multiply-adds.
TURNED_BLOCK_BYTES: Final = 16 * 1024
TURNED_ELEMENT_WORK: Final = 25.0

# --- two arrays convolved with each other ---------------------------------------------------------------------------

# Taps from which on long doubles are transformed by NumPy: its own loop takes 1 to 2 ns a product.
LONGDOUBLE_FFT_TAPS: Final = 64

# Samples in all windows of long doubles up to which these are written out, 2 MiB: a tap takes 10 us by itself.
REFERENCE_WINDOWS: Final = 65_536

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

# How far a sum of bytes in float32 may be from that in float64: with more, too many are made a second time. On Zen 4,
# 512 x 512 bytes of noise under a Gaussian of sigma 10, at 1 / 370, take 2.3 ms so and 3.1 in float64; bytes that are
# all alike, of which every sum is made in float64, 3.6.
MOST_DOUBT: Final = 1 / 256

# Bytes of weights that a remembered filter may hold.
REMEMBERED_BYTES: Final = 64 * 1024

# --- windows of an array ---------------------------------------------------------------------------------------------

# An element written out or summed takes as long as so many multiply-adds: 0.3 to 1 ns.
WINDOWS_ELEMENT_WORK: Final = 50.0

# Elements that are written between two looks at the clock, and by one thread at a time.
WINDOWS_SHARE: Final = 100_000

# --- implicit GEMM ---------------------------------------------------------------------------------------------------

# Bytes of a packed tile of input, all channels of a group and the halo. From 40 to 448 KiB the time of 256 channels of
# 56 x 56 with 3 x 3 falls from 28 to 23 ms, that of smaller layers is flat above 192.
GEMM_PACKED_BYTES: Final = 448 * 1024

# A packed row is reused by every kernel row, so more rows mean less packing, but also fewer tiles for threads. Results
# are stored in runs of a tile's columns, each channel's on other pages: 5 channels of 127 x 127 to 216 with 3 x 3 take
# 4.1 ms at 64 columns, 2.7 ms at 128 and 256; layers of many channels take as long with either.
GEMM_TILE_ROWS: Final = 8
GEMM_TILE_COLUMNS: Final = 256

# Pixels of a tile where the image is one row.
GEMM_TILE_PIXELS: Final = 512

# Channels that are neighbours are turned into rows a vector at a time, if at least one in so many is wanted.
TURNED_SHARE: Final = 4

# Bytes of packed weights: what a block of output channels may take of L2.
GEMM_WEIGHT_BYTES: Final = 1200 * 1024

# One panel and one packed tile may be larger than their blocks, up to this; beyond it the plan refuses GEMM.
GEMM_LIMIT_BYTES: Final = 3 * 1024 * 1024

# --- implicit GEMM, pixels in the lanes ------------------------------------------------------------------------------

# Output pixels of a tile, and products between two visits of a sum to memory.
PIXELS_TILE: Final = 512
PIXELS_BLOCK: Final = 160

# The same where a tile is copied while the one before is at work, and bytes of a block of it: L2 holds both and more.
# 256 channels of 56 x 56 to 64 take 690 us at 192 to 336 pixels, 760 at 512.
PIXELS_COPIED_TILE: Final = 336
PIXELS_COPIED_BYTES: Final = 172 * 1024

# Output channels from which that pays where all samples are in L2: 64 channels of 64 x 64 to 16 take 75 us in place,
# 100 from panels.
PIXELS_COPIED_CHANNELS: Final = 24

# With fewer output channels so many pixels of so many products are read in place, from one stream a channel, while the
# sums wait in L1: 256 channels of 56 x 56 to 8 take 212 us so, 295 from panels; to 16 as long, to 24 413 and 344.
# A tile of half the pixels for few products: 5 channels of 127 x 127 to 216 take 1010 us with it, 1360 with one of 512.
PIXELS_STREAMED_CHANNELS: Final = 16
PIXELS_STREAMED_TILE: Final = 2048
PIXELS_STREAMED_BLOCK: Final = 32

# Products for each pixel that is summed across the lanes in the end, which takes as long as 30 of them.
PIXELS_ODD_PRODUCTS: Final = 64

# Output channels that are written at a time where results go to memory: more streams of stores than these are slower.
# 5 channels of 127 x 127 to 216 with 1 x 1 take 2.0 ms with 32, 5.8 ms with all at once.
PIXELS_STREAMS: Final = 32

# Products up to which vectors are placed so that stores are aligned, at the cost of one more vector a line.
PIXELS_FEW_PRODUCTS: Final = 48

# Bytes of a packed tile, of the weights of a block that stay in L2 beside the samples, and of sums that are not stored
# where they belong.
PIXELS_PACKED_BYTES: Final = 1024 * 1024
PIXELS_WEIGHT_BYTES: Final = 256 * 1024
PIXELS_SUMS_BYTES: Final = 1024 * 1024

# A tile of one row may be larger, up to this; beyond it the plan refuses.
PIXELS_LIMIT_BYTES: Final = 3 * 1024 * 1024

# With fewer items than this, output channels are shared between threads too, in blocks of at least so many.
PIXELS_FEW_ITEMS: Final = 8
PIXELS_OUT_BLOCK: Final = 64

# --- inputs with zeros between their samples -------------------------------------------------------------------------

# More phases than this would take longer to plan than to compute with the zeros in place.
PHASES_LIMIT: Final = 256

# --- gradients of weights --------------------------------------------------------------------------------------------

# Results of a layer that are the kernel of one step, where the gradient is computed by correlations: packed, the band
# of the input that they reach is to stay in L2.
GRADIENT_BAND: Final = 16 * 1024

# Bytes of a panel of gradients, which stays in L1 while all samples pass by.
GRADIENT_PANEL_BYTES: Final = 32 * 1024

# Lines of samples that are fetched while those before are at work.
GRADIENT_AHEAD: Final = 512

# Bytes of the gradients of a tile of one channel, where positions are in the lanes: they share L1 with the samples.
GRADIENT_DOT_BYTES: Final = 16 * 1024

# What a multiply-add takes where positions are in the lanes, which loads a vector for each and is misaligned mostly.
GRADIENT_DOT_STEPS: Final = 2.0

# Bytes of packed samples, which share L1 with a panel of gradients, and of the sums of a block, which stay in L2. One
# channel may take more.
GRADIENT_PACKED_BYTES: Final = 20 * 1024
GRADIENT_SUM_BYTES: Final = 1024 * 1024
GRADIENT_LIMIT_BYTES: Final = 3 * 1024 * 1024

# --- Winograd --------------------------------------------------------------------------------------------------------

# The least and the most taps along an axis of the plane. The squares that cover other kernels hold too many zeros, or
# are too many: from 64 channels of 28 x 28 to as many, 2 x 2 takes as long as by the implicit GEMM, 7 x 7 takes 2.7 ms
# and 2.15 by that.
WINOGRAD_SIDES: Final = (3, 6)

# Bytes of a block: values at frequencies, and sums of a panel. Where all weights are kept beside them, L2 has to hold
# both: 64 channels of 224 x 224 take 11.4 ms at 56 tiles, 13 ms at 224. Where weights are transformed again for every
# block, they want some tiles to pay for that, even if L2 does not hold those: 256 channels of 56 x 56 take 11.3 ms at
# 56 tiles, 13 ms at 28; 8 images of 512 channels of 7 x 7 10 ms at 32 tiles, 14 ms at 8.
WINOGRAD_KEPT_BLOCK_BYTES: Final = 800 * 1024
WINOGRAD_BLOCK_BYTES: Final = 1300 * 1024
WINOGRAD_BLOCK_TILES: Final = 56
WINOGRAD_LARGEST_BLOCK_BYTES: Final = 2600 * 1024

# Bytes of the samples that are transformed together. Half of L1 would save writes to L2, but the short runs of input
# that it makes are read more slowly: 64 channels of 224 x 224 take 10.5 ms at 26 KiB, 10 ms at 128.
WINOGRAD_STRIP_BYTES: Final = 128 * 1024

# Panels of output channels in a block: their sums are written once and read once, so they are to stay in L2.
WINOGRAD_OUT_BLOCK: Final = 1

# Bytes of all transformed weights up to which they are kept, by the plan or by the thread: half an L2.
WINOGRAD_WEIGHT_BYTES: Final = 1024 * 1024

# Channels that are summed in registers before the sum is added to memory. With 64 the root mean square error of
# F(4, 3) is 8e-7 for any number of channels; in one sum it is 1.4e-6 for 256.
WINOGRAD_FOLD: Final = 64

# Bytes of workspace that a thread may take.
WINOGRAD_LIMIT_BYTES: Final = 6 * 1024 * 1024

# Samples of a single axis up to which one tap is left to a driver: 10 of them take 1.7 us, by NumPy's product 4.4;
# 100,000 take 38 us and 16.
SHORT_PRODUCT: Final = 4096

# --- what the cost model asks ----------------------------------------------------------------------------------------

# Bytes that stay in L1 while a tile is stored.
L1_BYTES: Final = 32 * 1024

# Bytes of weights that stay in L2 from one tile to the next; more are fetched from L3 or memory each time.
NEAR_BYTES: Final = 1280 * 1024

# What unrolling a vector of samples takes, in products, where a plan asks whether it pays.
PIXELS_UNROLL_STEPS: Final = 40.0

# The part of a register tile's rows below which one of Winograd's takes no less time.
WINOGRAD_LEAST_ROWS: Final = 3

# Vector multiply-adds that a reduction step takes at least: four cycles pass before a sum can be added to again.
LATENCY_STEPS: Final = 8

# --- FFT tiles -------------------------------------------------------------------------------------------------------

# Taps of a kernel from which a transform is looked at; planning one takes longer than a small convolution.
FFT_LEAST_TAPS: Final = 25

# And products. Below, what both take is a few microseconds, mostly of the call, and a transform rounds more than a sum.
FFT_LEAST_PRODUCTS: Final = 128 * 1024

# Bytes of the spectra of several kernels, and of one tile.
FFT_WEIGHT_BYTES: Final = 64 * 1024 * 1024
FFT_TILE_BYTES: Final = 512 * 1024 * 1024

# Rows (or columns) of a tile along an axis that is not transformed.
FFT_BATCH_ROWS: Final = 64

# Vector operations of a level of the tree on the way back over those forward, counted from the code.
FFT_BACK_LEVEL: Final = 3.5 / 3.0

# How much longer a point takes, by the bytes of a tile: in L2 with its spectrum, about to leave it, beyond it.
FFT_CACHE: Final = ((100 * 1024, 1.0), (448 * 1024, 1.25), (1024 * 1024, 1.5), (4 * 1024 * 1024, 1.8), (2**60, 2.2))

# Integers by transforms are converted there and back, which costs as much again where the kernel is not large.
ROUNDED_COST: Final = 1.5

# --- quantised convolution -------------------------------------------------------------------------------------------

# Bytes of a packed tile of samples, and its rows, as for the implicit GEMM: packed samples, which are a quarter of the
# bytes there, share L2 with the weights.
INT8_PACKED_BYTES: Final = 256 * 1024
INT8_TILE_ROWS: Final = 8

# Products of bytes that take as long as one of floats, where a call asks whether more threads pay: those of VNNI.
INT8_PRODUCTS: Final = 4.0

# Bytes of results that wait until their rows are whole. Written strip by strip, 14 bytes here and there, they took 110
# of 216 us of 64 channels of 56 x 56: every channel is on another page.
INT8_STAGE_BYTES: Final = 256 * 1024

# --- measuring candidates --------------------------------------------------------------------------------------------

# Seconds of a sample, which calls that are shorter fill by being made several times in a row; how many samples there
# are of each, if there is time; and how far behind the best a call is worth no more of them, which is four times as far
# in the first rounds.
SAMPLE_SECONDS: Final = 2e-4
MOST_ROUNDS: Final = 40
FIRST_ROUNDS: Final = 3
FAR_BEHIND: Final = 2.0

# Seconds of a plan's measuring.
MEASURE_SECONDS: Final = 0.25

# How much longer than the best still counts as well picked.
CLOSE: Final = 1.1

# Layers that `tune` times: the largest takes about a millisecond by a good way, and all ways of one these seconds.
TUNE_SEED: Final = 1
TUNE_FLOPS: Final = 1.5e8
TUNE_LAYER_SECONDS: Final = 0.05

# The fit: its rounds; how many candidates the usual constants count as; the relative error up to which one counts by
# its square; and how far behind the best of its layer a candidate counts.
FIT_ROUNDS: Final = 40
FIT_PRIOR: Final = 0.1
FIT_USUAL_ERROR: Final = 0.2
FIT_FAR_BEHIND: Final = 2.5
