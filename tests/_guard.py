"""Arrays in memory that ends where they end: touching the byte before or after one kills the process."""

import ctypes
import math
import mmap

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_NO_ACCESS, _READ = 0, 1


class Fence:
    """A block of memory with a forbidden page on either side, used for one array after another.

    Parameters
    ----------
    size : int
        Bytes; rounded up to whole pages.
    """

    def __init__(self, size):
        self.size = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self.size + 2 * mmap.PAGESIZE)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + mmap.PAGESIZE
        self._protect(self._first - mmap.PAGESIZE, mmap.PAGESIZE, _NO_ACCESS)
        self._protect(self._first + self.size, mmap.PAGESIZE, _NO_ACCESS)
        self._bytes = np.frombuffer(self._map, np.uint8, self.size, offset=mmap.PAGESIZE)

    def array(self, shape, dtype, side):
        """Return an array, with what it held before, against the "first" or the "last" byte of the block."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size > self.size:
            raise ValueError(f"{size} bytes do not fit into {self.size}")
        start = 0 if side == "first" else self.size - size
        return self._bytes[start : start + size].view(dtype).reshape(shape)

    def put(self, values, side):
        """Return a copy of values against the "first" or the "last" byte of the block."""
        copy = self.array(values.shape, values.dtype, side)
        copy[...] = values
        return copy

    def forbid_writing(self):
        """Make the block read-only in hardware, for good."""
        self._protect(self._first, self.size, _READ)

    def _protect(self, start, size, access):
        if _libc.mprotect(start, size, access):
            raise OSError(ctypes.get_errno(), "mprotect failed")
