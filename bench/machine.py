"""What the figures were measured on, and how fast it could be: CPU, versions, FMA peak, one thread."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "fastconv",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "opencv-python",
    "torch",
    "onnxruntime",
    "openvino",
    "ncnn",
)


def installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def cpu_name() -> str:
    """Model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, object]:
    """Everything a reader needs to place the figures, ready for JSON."""
    import fastconv.drivers.levels as levels

    return {
        "cpu": cpu_name(),
        "level": levels.default(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
    }


def fma_peak(dtype: np.dtype, seconds: float = 0.02) -> float | None:
    """Flops a second of one core that does nothing but multiply and add; None for integers."""
    from fastconv.drivers.levels import fma_rate

    return fma_rate(dtype.char, seconds) if dtype.char in "fd" else None


def one_thread() -> AbstractContextManager[None]:
    """Hold every library at one thread, and torch out of recording gradients, while the block runs."""
    return limited(1, ("threadpoolctl", "scipy", "cv2", "torch"))


@contextmanager
def limited(threads: int, modules: Collection[str]) -> Iterator[None]:
    """Let fastconv, and those of `modules` that are installed, use so many threads while the block runs."""
    import fastconv

    with ExitStack() as stack:
        stack.enter_context(fastconv.num_threads(threads))
        for module in modules:
            if installed(module) and module in _LIMITS:
                stack.enter_context(_LIMITS[module](threads))
        yield


@contextmanager
def _opencv_limited(threads: int) -> Iterator[None]:
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _torch_limited(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _scipy_limited(threads: int) -> Iterator[None]:
    from scipy.fft import set_workers

    with set_workers(threads):
        yield


def _pools_limited(threads: int) -> AbstractContextManager[Any]:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


_LIMITS: dict[str, Callable[[int], AbstractContextManager[Any]]] = {
    "threadpoolctl": _pools_limited,
    "scipy": _scipy_limited,
    "cv2": _opencv_limited,
    "torch": _torch_limited,
}
