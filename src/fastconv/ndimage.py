"""Drop-ins for scipy.ndimage's linear filters: its signatures, defaults and rules.

The arguments are put into the words of the core (`_ndimage_args`, `_ndimage_passes`), the filters themselves are
`_filters`, and what stands here is how their results are combined. All functions share these rules:

dtypes
    The result has the dtype of the input, whatever the weights are, unless `output` says otherwise; it is complex
    where the input or the weights are. Integers come out exactly modulo 2**n where all weights, and what lies around
    the image, are whole numbers, int64 too; else they are computed in float64 and cut towards zero, after each pass,
    so that an integer image gives the integers that it gives in SciPy. bool is computed as whole numbers, all but zero
    of which are true in the end; terms that are added are so before. float16 is computed in float32, and longdouble
    in longdouble; SciPy refuses both. float32 images with a result in float32 are computed in float32, and complex64
    in complex64, where SciPy computes in float64.
NaN and infinity
    Reach exactly the outputs whose window holds them, whatever the weight: also a weight of zero (SciPy's `correlate`
    and `convolve` skip such a tap, its `correlate1d` does not), and also in `uniform_filter` (where in SciPy a NaN
    reaches the end of the line).
symmetry
    One-dimensional weights of odd length that are exactly symmetric, or antisymmetric, meet the sum, or difference, of
    two samples: a mirrored image gives the mirrored result to the last bit, and an antisymmetric derivative of a
    constant is zero.
weights
    Count, however small they are. (SciPy drops taps below 2.2e-16 and takes kernels that are symmetric to within
    2.2e-16 as symmetric.)
axes
    One number will do wherever SciPy takes a tuple, and an axis that does not exist is refused always.
output
    May overlap the input in any way.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from . import _ndimage_calls as calls
from . import _ndimage_passes as geometry

__all__ = [
    "convolve",
    "convolve1d",
    "correlate",
    "correlate1d",
    "gaussian_filter",
    "gaussian_filter1d",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "laplace",
    "prewitt",
    "sobel",
    "uniform_filter",
    "uniform_filter1d",
]

Array = NDArray[Any]


def correlate(
    input: ArrayLike,
    weights: ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
    threads: int | None = None,
) -> Array:
    """Correlate an image with a kernel, as scipy.ndimage.correlate does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    weights : array_like
        The kernel, with an axis for each axis of `input`, or for each of `axes`. It is conjugated.
    output : dtype, str or ndarray, optional
        The dtype of the result, or an array of the shape of `input` for it, which is returned and may overlap
        `input`. By default the dtype is that of `input`, or complex where `weights` are. A real dtype becomes
        complex for a complex result, with a UserWarning.
    mode : str, optional
        How the image goes on beyond its edges, which is ``a b c d`` here:

        ================================ =======================
        "reflect" or "grid-mirror"       ``d c b a|a b c d|d c b a``
        "mirror"                         ``d c b|a b c d|c b a``
        "nearest"                        ``a a a|a b c d|d d d``
        "wrap" or "grid-wrap"            ``b c d|a b c d|a b c``
        "constant" or "grid-constant"    ``k k k|a b c d|k k k``
        ================================ =======================
    cval : scalar, optional
        The ``k`` of "constant". Complex for a complex image only.
    origin : int or sequence of int, optional
        One, or one for each axis: how far the middle tap, number ``K // 2`` of ``K``, lies before the output's own
        sample. From ``-(K // 2)`` to ``(K - 1) // 2``.
    axes : int or sequence of int, optional
        The axes to filter along; the others are a batch. The kernel's axes are matched in the image's order.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError
        For a shape, mode, origin, axis or output that cannot be served, before anything is written. It is a
        RuntimeError and a ValueError; for an axis that does not exist it is an IndexError, too.
    ConvTypeError
        For a dtype or an argument of the wrong type. It is a TypeError, a ValueError and a RuntimeError.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.correlate(np.array([[1, 2, 3], [4, 5, 6]]), [[0, 1], [1, 1]])
    array([[ 3,  5,  8],
           [ 9, 11, 14]])
    >>> ndimage.correlate(np.array([1, 2, 3], np.uint8), [0.5, 0.5], mode="constant", cval=9, output=np.float32)
    array([5. , 1.5, 2.5], dtype=float32)
    """
    return calls.correlate(input, weights, output, (mode, cval, origin, axes), threads, flip=False)


def convolve(
    input: ArrayLike,
    weights: ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
    threads: int | None = None,
) -> Array:
    """Convolve an image with a kernel, as scipy.ndimage.convolve does.

    The kernel is reversed along all its axes, and not conjugated; all else is as in `correlate`.

    Parameters
    ----------
    input : array_like
        See `correlate`, as for all that follows.
    weights : array_like
    output : dtype, str or ndarray, optional
    mode : str, optional
    cval : scalar, optional
    origin : int or sequence of int, optional
        How far the middle tap, number ``(K - 1) // 2`` of the reversed kernel's ``K`` for even ``K`` and ``K // 2``
        for odd, lies behind the output's own sample.
    axes : int or sequence of int, optional
    threads : int, optional

    Returns
    -------
    ndarray

    Raises
    ------
    ConvError, ConvTypeError

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.convolve(np.array([0, 0, 1, 0, 0]), [1, 2, 3])
    array([0, 1, 2, 3, 0])
    """
    return calls.correlate(input, weights, output, (mode, cval, origin, axes), threads, flip=True)


def correlate1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    origin: int = 0,
    *,
    threads: int | None = None,
) -> Array:
    """Correlate along one axis, as scipy.ndimage.correlate1d does.

    Parameters
    ----------
    input : array_like
        The image, of any rank from 1 and of any boolean, integer, floating or complex dtype.
    weights : array_like, 1-D
        Conjugated.
    axis : int, optional
        The last one by default.
    output : dtype, str or ndarray, optional
        See `correlate`, as for all that follows.
    mode : str, optional
    cval : scalar, optional
    origin : int, optional
    threads : int, optional

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.correlate1d(np.array([[1, 2, 4], [8, 16, 32]]), [-1, 1])
    array([[ 0,  1,  2],
           [ 0,  8, 16]])
    """
    return calls.correlate1d(input, weights, output, (axis, mode, cval, origin), threads, flip=False)


def convolve1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    origin: int = 0,
    *,
    threads: int | None = None,
) -> Array:
    """Convolve along one axis, as scipy.ndimage.convolve1d does.

    The weights are reversed, and not conjugated; all else is as in `correlate1d`.

    Parameters
    ----------
    input : array_like
        See `correlate1d`, as for all that follows.
    weights : array_like, 1-D
    axis : int, optional
    output : dtype, str or ndarray, optional
    mode : str, optional
    cval : scalar, optional
    origin : int, optional
        See `convolve`.
    threads : int, optional

    Returns
    -------
    ndarray

    Raises
    ------
    ConvError, ConvTypeError

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.convolve1d(np.array([[1, 2, 4], [8, 16, 32]]), [1, -1], axis=0)
    array([[ 7, 14, 28],
           [ 0,  0,  0]])
    """
    return calls.correlate1d(input, weights, output, (axis, mode, cval, origin), threads, flip=True)


def gaussian_filter(
    input: ArrayLike,
    sigma: Any,
    order: Any = 0,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    truncate: float = 4.0,
    *,
    radius: Any = None,
    axes: Any = None,
    threads: int | None = None,
) -> Array:
    """Smooth an image with a Gaussian, or differentiate it with one's derivatives, as scipy.ndimage does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    sigma : float or sequence of float
        Standard deviation in samples: one, or one for each axis. There is no pass along an axis where it is at most
        1e-15.
    order : int or sequence of int, optional
        Which derivative of the Gaussian: one, or one for each axis; 0 is the Gaussian itself.
    output : dtype, str or ndarray, optional
        The dtype of the result, or an array of the shape of `input` for it, which is returned and may overlap
        `input`. The result of each pass is rounded to it. Complex for a complex image.
    mode : str or sequence of str, optional
        One, or one for each axis; see `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with, before every pass.
    truncate : float, optional
        The Gaussian ends after this many standard deviations.
    radius : int or sequence of int, optional
        The Gaussian ends after this many samples, whatever `truncate` says: one, or one for each axis.
    axes : int or sequence of int, optional
        The axes to filter along, in this order; sequences for other arguments go with them.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> image = np.zeros((5, 5), np.float32)
    >>> image[2, 2] = 1
    >>> ndimage.gaussian_filter(image, 0.5)[2].round(3)
    array([0.   , 0.084, 0.619, 0.084, 0.   ], dtype=float32)
    >>> ndimage.gaussian_filter(np.array([0, 0, 100, 100]), 1, order=1)
    array([10, 36, 36, 10])
    """
    options = (sigma, order, mode, cval, truncate, radius, axes)
    return calls.along_axes(input, calls.correlate_axes, geometry.gaussian_passes, options, output, threads)


def gaussian_filter1d(
    input: ArrayLike,
    sigma: float,
    axis: int = -1,
    order: int = 0,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
    threads: int | None = None,
) -> Array:
    """Smooth along one axis with a Gaussian, or differentiate, as scipy.ndimage.gaussian_filter1d does.

    Parameters
    ----------
    input : array_like
        The image, of any rank from 1 and of any boolean, integer, floating or complex dtype.
    sigma : float
        Standard deviation in samples. Its square has to be above zero.
    axis : int, optional
        The last one by default.
    order : int, optional
        Which derivative of the Gaussian; 0 is the Gaussian itself.
    output : dtype, str or ndarray, optional
        See `correlate`, as for mode, cval and threads.
    mode : str, optional
    cval : scalar, optional
    truncate : float, optional
        The Gaussian ends after this many standard deviations.
    radius : int, optional
        The Gaussian ends after this many samples, whatever `truncate` says.
    threads : int, optional

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`. For a `sigma` of zero or infinity it is a ZeroDivisionError and an OverflowError, too.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.gaussian_filter1d(np.array([0.0, 0, 1, 0, 0]), 1, radius=1).round(4)
    array([0.    , 0.2741, 0.4519, 0.2741, 0.    ])
    """
    options = (sigma, axis, order, mode, cval, truncate, radius)
    return calls.along_axes(
        input, calls.correlate_axes, geometry.gaussian_pass_of_axis, options, output, threads, promotes=True
    )


def uniform_filter(
    input: ArrayLike,
    size: Any = 3,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
    threads: int | None = None,
) -> Array:
    """Average over boxes, as scipy.ndimage.uniform_filter does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    size : int or sequence of int, optional
        Samples of the box: one, or one for each axis. There is no pass along an axis where it is at most 1.
    output : dtype, str or ndarray, optional
        See `correlate`. The result of each pass is rounded to it.
    mode : str or sequence of str, optional
        One, or one for each axis; see `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with, before every pass.
    origin : int or sequence of int, optional
        One, or one for each axis: how far sample number ``size // 2`` of the box lies before the output's own.
    axes : int or sequence of int, optional
        The axes to filter along, in this order; sequences for other arguments go with them.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`. The means of integers are cut towards zero after each pass.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.uniform_filter(np.array([1, 2, 6, 1, 2]), 3)
    array([1, 3, 3, 3, 1])
    >>> ndimage.uniform_filter(np.array([1, np.nan, 3, 5, 7, 9]), 3)
    array([       nan,        nan,        nan, 5.        , 7.        ,
           8.33333333])
    """
    options = (size, mode, cval, origin, axes)
    return calls.along_axes(input, calls.box_axes, geometry.boxes, options, output, threads, promotes=True)


def uniform_filter1d(
    input: ArrayLike,
    size: int,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: Any = 0.0,
    origin: int = 0,
    *,
    threads: int | None = None,
) -> Array:
    """Average over neighbours along one axis, as scipy.ndimage.uniform_filter1d does.

    Parameters
    ----------
    input : array_like
        The image, of any rank from 1 and of any boolean, integer, floating or complex dtype.
    size : int
        How many samples, from 1.
    axis : int, optional
        The last one by default.
    output : dtype, str or ndarray, optional
        See `uniform_filter`, as for all that follows.
    mode : str, optional
    cval : scalar, optional
    origin : int, optional
    threads : int, optional

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.uniform_filter1d(np.array([2.0, 8, 0, 4, 1]), 2, mode="constant")
    array([1. , 5. , 4. , 2. , 2.5])
    """
    options = (size, axis, mode, cval, origin)
    return calls.along_axes(input, calls.box_axes, geometry.box_of_axis, options, output, threads, promotes=True)


def sobel(
    input: ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    threads: int | None = None,
) -> Array:
    """Differentiate along one axis and smooth along the others, as scipy.ndimage.sobel does.

    The weights are -1, 0, 1 along `axis` and then 1, 2, 1 along each other axis.

    Parameters
    ----------
    input : array_like
        The image, of any rank from 1 and of any boolean, integer, floating or complex dtype.
    axis : int, optional
        The axis to differentiate along, the last one by default.
    output : dtype, str or ndarray, optional
        The dtype of the result, or an array of the shape of `input` for it, which is returned and may overlap
        `input`. Unsigned integers hold negative differences modulo 2**n. Complex for a complex image.
    mode : str or sequence of str, optional
        One, or one for each axis of `input`; see `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with, before every pass.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.sobel(np.array([[0, 0, 9, 9], [0, 0, 9, 9]]))
    array([[ 0, 36, 36,  0],
           [ 0, 36, 36,  0]])
    """
    options = ("sobel", axis, mode, cval)
    return calls.along_axes(input, calls.correlate_axes, geometry.slope_passes, options, output, threads)


def prewitt(
    input: ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    threads: int | None = None,
) -> Array:
    """Differentiate along one axis and average along the others, as scipy.ndimage.prewitt does.

    The weights are -1, 0, 1 along `axis` and then 1, 1, 1 along each other axis; all else is as in `sobel`.

    Parameters
    ----------
    input : array_like
        See `sobel`, as for all that follows.
    axis : int, optional
    output : dtype, str or ndarray, optional
    mode : str or sequence of str, optional
    cval : scalar, optional
    threads : int, optional

    Returns
    -------
    ndarray

    Raises
    ------
    ConvError, ConvTypeError

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.prewitt(np.array([[0, 0, 9, 9], [0, 0, 9, 9]]))
    array([[ 0, 27, 27,  0],
           [ 0, 27, 27,  0]])
    """
    options = ("prewitt", axis, mode, cval)
    return calls.along_axes(input, calls.correlate_axes, geometry.slope_passes, options, output, threads)


def laplace(
    input: ArrayLike,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    threads: int | None = None,
) -> Array:
    """Add up the second differences along the axes, as scipy.ndimage.laplace does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    output : dtype, str or ndarray, optional
        The dtype of the result, and of each second difference, or an array of the shape of `input` for it, which is
        returned and may overlap `input`. Complex for a complex image.
    mode : str or sequence of str, optional
        One, or one for each of `axes`; see `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with.
    axes : int or sequence of int, optional
        The axes to differentiate along; all by default. Without any, the image is returned.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.laplace(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    options = (mode, cval, axes)
    return calls.along_axes(input, calls.sum_of, geometry.laplace_terms, options, output, threads)


def gaussian_laplace(
    input: ArrayLike,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    truncate: float = 4.0,
    radius: Any = None,
    threads: int | None = None,
) -> Array:
    """Add up the second derivatives of a smoothed image, as scipy.ndimage.gaussian_laplace does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    sigma : float or sequence of float
        Standard deviation of the Gaussian in samples: one, or one for each of `axes`. The other axes are not
        smoothed.
    output : dtype, str or ndarray, optional
        The dtype of the result, and of each derivative, or an array of the shape of `input` for it, which is
        returned and may overlap `input`. Complex for a complex image.
    mode : str or sequence of str, optional
        One, or one for each of `axes`: how the image goes on along all axes for the derivative along that one. See
        `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with, before every pass.
    axes : int or sequence of int, optional
        The axes to differentiate and to smooth along; all by default. Without any, the image is returned.
    truncate : float, optional
        The Gaussian ends after this many standard deviations.
    radius : int or sequence of int, optional
        The Gaussian ends after this many samples, whatever `truncate` says: one, or one for each axis of `input`.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> image = np.zeros((5, 5))
    >>> image[2, 2] = 1
    >>> ndimage.gaussian_laplace(image, 1)[2].round(3)
    array([ 0.055, -0.096, -0.318, -0.096,  0.055])
    """
    options = (sigma, mode, cval, truncate, radius, axes)
    return calls.along_axes(input, calls.sum_of, geometry.gaussian_laplace_terms, options, output, threads)


def gaussian_gradient_magnitude(
    input: ArrayLike,
    sigma: Any,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    truncate: float = 4.0,
    radius: Any = None,
    threads: int | None = None,
) -> Array:
    """Return the length of the gradient of a smoothed image, as scipy.ndimage.gaussian_gradient_magnitude does.

    Parameters
    ----------
    input : array_like
        The image, of any rank and of any boolean, integer, floating or complex dtype.
    sigma : float or sequence of float
        Standard deviation of the Gaussian in samples: one, or one for each axis of `input`. As in SciPy, axes that
        are not among `axes` are smoothed, too.
    output : dtype, str or ndarray, optional
        The dtype of the result, and of each derivative and its square, or an array of the shape of `input` for it,
        which is returned and may overlap `input`. Complex for a complex image.
    mode : str or sequence of str, optional
        One, or one for each of `axes`: how the image goes on along all axes for the derivative along that one. See
        `correlate`.
    cval : scalar, optional
        What `mode` "constant" continues with, before every pass.
    axes : int or sequence of int, optional
        The axes to differentiate along; all by default. Without any, the image is returned.
    truncate : float, optional
        The Gaussian ends after this many standard deviations.
    radius : int or sequence of int, optional
        The Gaussian ends after this many samples, whatever `truncate` says: one, or one for each axis of `input`.
    threads : int, optional
        How many threads to use for this call.

    Returns
    -------
    ndarray
        Of the shape of `input`. The squares of integers count modulo 2**n, as in SciPy; `output` helps.

    Raises
    ------
    ConvError, ConvTypeError
        As `correlate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> image = np.zeros((5, 5))
    >>> image[:, 3:] = 1
    >>> ndimage.gaussian_gradient_magnitude(image, 1)[2].round(3)
    array([0.013, 0.122, 0.364, 0.363, 0.108])
    """
    options = (sigma, mode, cval, truncate, radius, axes)
    return calls.along_axes(input, calls.magnitude_of, geometry.gaussian_gradient_terms, options, output, threads)
