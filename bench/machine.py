"""What the figures were measured on, and how fast it could be: CPU, versions, FMA peak, one thread."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

PACKAGES = ("fastconv", "numpy", "scipy", "opencv-python-headless", "opencv-python", "torch", "onnxruntime")


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold every library at one thread, and torch out of recording gradients, while the block runs."""
    import fastconv

    with ExitStack() as stack:
        stack.enter_context(fastconv.num_threads(1))
        if installed("threadpoolctl"):
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(1))
        if installed("cv2"):
            import cv2

            stack.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(1)
        if installed("torch"):
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            stack.enter_context(torch.inference_mode())
        yield
