/* The same sums in the tile registers of AMX: 16 rows of 64 bytes each.
 *
 *     0 1   sums of strip 1, 16 output channels each     4   samples of strip 1    6 7   weights, 16 channels each
 *     2 3   sums of strip 2                              5   samples of strip 2
 *
 * A row of samples is a pixel and `chunk` quads of its run; a row of weights a quad of 16 channels. So a strip is any
 * 16 pixels at one distance, and one instruction does 16 x 16 x 64 products.
 */
enum { FC_AMX_ROWS = 16 };

/* Sizes of the tile registers, as ldtilecfg reads them. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;

static void int8_begin_amx(ptrdiff_t pixels, ptrdiff_t chunk) {
    amx_config config = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        config.rows[t] = (uint8_t)(t < 6 ? pixels : chunk);
        config.row_bytes[t] = (uint16_t)(t == 4 || t == 5 ? 4 * chunk : 64);
    }
    /* The intrinsic of GCC 12 says that it reads 8 bytes, so the others would not be written. */
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void int8_end_amx(void) { _tile_release(); }

static void int8_amx(const fc_int8_tile *tile) {
    const ptrdiff_t pitch = tile->pixel_pitch, row = FC_INT8_COLUMNS * 4;
    const int8_t *weights = tile->weights;
    const int both = tile->strips == 2;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (ptrdiff_t run = 0; run < tile->n_runs; run++) {
        const uint8_t *x = tile->src + tile->runs[run], *second = tile->second + tile->runs[run];
        for (ptrdiff_t q = 0; q < tile->quads; q += tile->chunk, weights += tile->chunk * row) {
            _tile_loadd(6, weights, row);
            _tile_loadd(4, x + 4 * q, pitch);
            _tile_dpbusd(0, 4, 6);
            _tile_loadd(7, weights + 64, row);
            _tile_dpbusd(1, 4, 7);
            if (both) {
                _tile_loadd(5, second + 4 * q, pitch);
                _tile_dpbusd(2, 5, 6);
                _tile_dpbusd(3, 5, 7);
            }
        }
    }
    int32_t *sums = tile->sums;
    _tile_stored(0, sums, row);
    _tile_stored(1, sums + 16, row);
    if (both) {
        sums += tile->pixels * FC_INT8_COLUMNS;
        _tile_stored(2, sums, row);
        _tile_stored(3, sums + 16, row);
    }
}
