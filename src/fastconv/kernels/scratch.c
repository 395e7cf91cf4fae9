/* A pool of scratch blocks that outlive the call. Lock-free: a slot is taken and given back by one atomic exchange, so
 * it also works in a forked child whose parent held blocks. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "fastconv.h"

/* 16 slots serve 16 calls at once without an allocation; a block larger than this goes back to the system. */
enum { SLOTS = 16, ALIGNMENT = 4096 };
static const size_t KEPT_BYTES = (size_t)16 << 20;

typedef struct {
    size_t bytes;
} header; /* in front of the block, one alignment unit long so that the block stays aligned */

static _Atomic(header *) slots[SLOTS];

void *fc_scratch_take(size_t bytes) {
    for (int i = 0; i < SLOTS; i++) {
        header *block = atomic_exchange(&slots[i], NULL);
        if (!block)
            continue;
        if (block->bytes >= bytes)
            return (char *)block + ALIGNMENT;
        free(block);
        break;
    }
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    const size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    header *block = aligned_alloc(ALIGNMENT, rounded + ALIGNMENT);
    if (!block)
        return NULL;
    block->bytes = rounded;
    return (char *)block + ALIGNMENT;
}

void fc_scratch_give(void *pointer) {
    if (!pointer)
        return;
    header *block = (header *)((char *)pointer - ALIGNMENT);
    if (block->bytes <= KEPT_BYTES) {
        for (int i = 0; i < SLOTS; i++) {
            header *empty = NULL;
            if (atomic_compare_exchange_strong(&slots[i], &empty, block))
                return;
        }
    }
    free(block);
}

/* Frees the blocks that no call holds. For tests, and so not part of the contract that drivers see. */
void fc_scratch_clear(void);
void fc_scratch_clear(void) {
    for (int i = 0; i < SLOTS; i++)
        free(atomic_exchange(&slots[i], NULL));
}
