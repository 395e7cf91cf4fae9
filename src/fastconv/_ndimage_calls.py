"""How `ndimage`'s functions run: a call that was made before goes the short lane, others are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _filters, _tunables
from . import _ndimage_args as args
from . import _ndimage_passes as geometry
from .drivers import threads as _threads
from .drivers.lane import Lane, distinct

Array = NDArray[Any]

_BACKWARDS = slice(None, None, -1)

# Of what correlates, what convolves, and of filters that make their own weights.
lanes = Lane(), Lane(), Lane()


def correlate(
    input: ArrayLike, weights: ArrayLike, output: Any, options: tuple[Any, ...], threads: int | None, *, flip: bool
) -> Array:
    call = _short_call(output, options)
    if call is not None:
        known: Array | None = lanes[flip].run(input, weights, None, call, threads)
        if known is not None:
            return known
    x, w = args.as_input(input), args.as_weights(weights)
    is_complex = x.dtype.kind == "c"
    shape, lo, boundary, fill_value = geometry.kernel_geometry(x.ndim, is_complex, *options, flip, *w.shape)
    target = args.target_of(output, x, is_complex or w.dtype.kind == "c", promotes=True)
    dtype = target.work

    def filtered(x: Array, w: Array, threads: int | None) -> Array:
        w = w[(_BACKWARDS,) * w.ndim] if flip else w.conj() if w.dtype.kind == "c" else w
        return _apply(_filters.correlate, x, w.reshape(shape), dtype, lo, boundary, fill_value, threads)

    if not x.size:
        return _nothing_to_filter(x, target, threads)
    # An axis for an image that has none.
    result = filtered(x if x.ndim else x.reshape(1), w, threads)
    if call is not None and x.ndim and _takes_all(target, call):
        backwards = (_BACKWARDS,) * w.ndim if flip else None
        again = _filters.repeat(x, w.reshape(shape), lo, boundary, fill_value, backwards) if dtype == x.dtype else None
        lanes[flip].remember_call(x, w, call, again or filtered)
    return target.take(result if x.ndim else result.reshape(()))


def _short_call(output: Any, options: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the options of a call that may be remembered, equal only to those of the same call."""
    if isinstance(output, type) and issubclass(output, np.generic):
        output = np.dtype(output).char
    elif output is not None:
        return None
    return (output, *map(distinct, options))


def _takes_all(target: args.Target, call: tuple[Any, ...]) -> bool:
    """Whether what filters compute for a call is its result, and the next such call says nothing else to the user."""
    if target.array is not None or target.work != target.dtype or target.dtype.kind == "b":
        return False
    # Of a dtype that was made complex, the user is warned each time.
    return call[0] is None or call[0] == target.dtype.char


def correlate1d(
    input: ArrayLike, weights: ArrayLike, output: Any, options: tuple[Any, ...], threads: int | None, *, flip: bool
) -> Array:
    call = _short_call(output, ("line", *options))
    if call is not None:
        known: Array | None = lanes[flip].run(input, weights, None, call, threads)
        if known is not None:
            return known
    x, w = args.as_input(input), args.as_weights(weights)
    is_complex = x.dtype.kind == "c"
    axis, lo, boundary, fill_value = geometry.line_geometry(x.ndim, is_complex, *options, flip, *w.shape)
    target = args.target_of(output, x, is_complex or w.dtype.kind == "c", promotes=True)
    dtype = target.work

    def passes_of(w: Array) -> tuple[_filters.Pass]:
        w = w[_BACKWARDS] if flip else w.conj() if w.dtype.kind == "c" else w
        return (_filters.Pass(axis, w, lo, boundary, fill_value),)

    if not x.size:
        return _nothing_to_filter(x, target, threads)
    result = _apply(_filters.correlate_axes, x, passes_of(w), dtype, threads)
    if call is not None and _takes_all(target, call) and w.nbytes <= _tunables.REMEMBERED_BYTES:
        plan, planned = _filters.plan_passes(x, passes_of(w), dtype), w.tobytes()

        def again(image: Array, weights: Array, threads: int | None) -> Array:
            if plan is not None and weights.tobytes() == planned:
                return plan.run(image, threads)
            return _filters.correlate_axes(image, passes_of(weights), dtype, threads)

        lanes[flip].remember_call(x, w, call, again)
    return target.take(result)


def along_axes(
    input: ArrayLike,
    filter_axes: Callable[..., Array],
    steps_of: Callable[..., tuple[Any, ...]],
    options: tuple[Any, ...],
    output: Any,
    threads: int | None,
    promotes: bool = False,
) -> Array:
    """Apply the passes, boxes or terms that options stand for; an image that there are none for is copied."""
    call = _short_call(output, (steps_of.__name__, *options))
    if call is not None:
        known: Array | None = lanes[2].run(input, None, None, call, threads)
        if known is not None:
            return known
    x = args.as_input(input)
    is_complex = x.dtype.kind == "c"
    steps = steps_of(x.ndim, is_complex, *options)
    target = args.target_of(output, x, is_complex if steps or (is_complex and promotes) else None, promotes)
    if not (steps and x.size):
        return _nothing_to_filter(x, target, threads)
    result = filter_axes(x, steps, target.work, threads)
    if call is not None and _takes_all(target, call) and _bytes_of(steps) <= _tunables.REMEMBERED_BYTES:
        lanes[2].remember_call(x, None, call, _again(filter_axes, x, steps, target.work))
    return target.take(result)


def _bytes_of(steps: tuple[Any, ...]) -> int:
    """Return the bytes of the weights of passes, or of terms that are made of them; boxes have none."""
    return sum(
        step.weights.nbytes if isinstance(step, _filters.Pass) else _bytes_of(step)
        for step in steps
        if not isinstance(step, _filters.Box)
    )


def _again(
    filter_axes: Callable[..., Array], x: Array, steps: Any, dtype: np.dtype[Any]
) -> Callable[[Array, Any, int | None], Array]:
    """Return what filters arrays like x into a dtype."""
    plan = None
    if filter_axes in _OF_TERMS:
        combine = _OF_TERMS[filter_axes]
        found = (_filters.plan_passes(x, _passes_for(x, passes, dtype), dtype) for passes in steps)
        plans = [plan for plan in found if plan is not None]
        if len(plans) == len(steps):
            return lambda image, _, threads: combine(plan.run(image, threads) for plan in plans)
    if filter_axes is box_axes:
        plan = _filters.plan_boxes(x, steps, dtype)
    elif filter_axes is correlate_axes:
        plan = _filters.plan_passes(x, _passes_for(x, steps, dtype), dtype)
    if plan is not None:
        return lambda image, _, threads: plan.run(image, threads)
    return lambda image, _, threads: filter_axes(image, steps, dtype, threads)


def _nothing_to_filter(x: Array, target: args.Target, threads: int | None) -> Array:
    _threads.check(threads)
    return target.copy_of(x)


def _apply(filter_: Callable[..., Array], x: Array, what: Any, dtype: np.dtype[Any], *rest: Any) -> Array:
    """Filter into a dtype; truth is counted, along one axis after the other, and looked at when all is done."""
    if dtype.kind != "b":
        return filter_(x, what, dtype, *rest)
    counts = filter_(x, what, np.dtype(np.int32), *rest)
    return np.not_equal(counts, 0)


def box_axes(x: Array, boxes: tuple[_filters.Box, ...], dtype: np.dtype[Any], threads: int | None) -> Array:
    return _apply(_filters.box_axes, x, boxes, dtype, threads)


def correlate_axes(x: Array, passes: geometry.Passes, dtype: np.dtype[Any], threads: int | None) -> Array:
    return _apply(_filters.correlate_axes, x, _passes_for(x, passes, dtype), dtype, threads)


def _passes_for(x: Array, passes: geometry.Passes, dtype: np.dtype[Any]) -> tuple[_filters.Pass, ...]:
    single = dtype.char in "fF" and x.dtype.char in geometry.SINGLE
    return passes.single if single else passes


def sum_of(x: Array, terms: tuple[geometry.Passes, ...], dtype: np.dtype[Any], threads: int | None) -> Array:
    return _sum(correlate_axes(x, passes, dtype, threads) for passes in terms)


def _sum(terms: Iterator[Array]) -> Array:
    total = next(terms)
    for term in terms:
        np.add(total, term, out=total)
    return total


def magnitude_of(x: Array, terms: tuple[geometry.Passes, ...], dtype: np.dtype[Any], threads: int | None) -> Array:
    return _magnitude(correlate_axes(x, passes, dtype, threads) for passes in terms)


def _magnitude(slopes: Iterator[Array]) -> Array:
    total = _sum(np.multiply(slope, slope, out=slope) for slope in slopes)
    # In the floating dtype that NumPy takes for the integers, which decides what SciPy's integers are.
    np.sqrt(total, out=total, casting="unsafe")
    return total


# What becomes of the terms of filters that have several.
_OF_TERMS: dict[Callable[..., Array], Callable[[Iterator[Array]], Array]] = {sum_of: _sum, magnitude_of: _magnitude}
