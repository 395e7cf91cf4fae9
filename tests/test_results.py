"""Memory of results: aligned, and in every other respect as of any array."""

import gc

import numpy as np
import pytest

import fastconv
from fastconv.drivers import results

LINE = 64


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (1 << 14,), (3, 5, 4099), (1 << 20, 2)])
@pytest.mark.parametrize("dtype", ["f4", "c16", "i1", ">f8", "O"])
def test_arrays_are_aligned_and_their_own(shape, dtype):
    array = results.empty(shape, np.dtype(dtype))
    assert (array.shape, array.dtype, array.base) == (shape, np.dtype(dtype), None)
    assert array.ctypes.data % LINE == 0
    assert array.flags.c_contiguous
    assert array.flags.owndata
    assert array.flags.writeable
    array[...] = 1
    assert (array == 1).all()


def test_results_of_every_face_are_aligned():
    x, w = np.ones((1, 8, 64, 64), np.float32), np.ones((8, 8, 3, 3), np.float32)
    for _ in range(3):  # the long way, and the short lane
        for result in (
            fastconv.nn.conv2d(x, w),
            fastconv.conv(x, w, layout="NCHW"),
            fastconv.signal.convolve2d(x[0, 0], w[0, 0]),
            fastconv.ndimage.gaussian_filter(x[0, 0], 1),
        ):
            assert result.ctypes.data % LINE == 0


def test_memory_can_be_resized_and_is_given_back():
    array = results.empty((5000,), np.dtype("f8"))
    array[...] = np.arange(5000)
    array.resize((9000,), refcheck=False)
    np.testing.assert_array_equal(array[:5000], np.arange(5000))
    array.resize((0,), refcheck=False)
    del array
    gc.collect()


def test_other_arrays_are_not_touched():
    # The functions that make memory are those of the moment of the call only.
    before = np.ones(1 << 16)
    results.empty((1 << 16,), np.dtype("f8"))
    after = before + before
    assert handler_name(after) == handler_name(before)


def test_an_array_that_cannot_be_is_refused():
    with pytest.raises((MemoryError, ValueError)):
        results.empty((1 << 62,), np.dtype("f8"))
    assert handler_name(np.empty(10)) == handler_name(np.ones(3))


def handler_name(array):
    """Return which functions made an array's memory."""
    multiarray = pytest.importorskip("numpy._core.multiarray")
    return multiarray.get_handler_name(array)
