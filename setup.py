"""The extension modules; everything else is in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from setuptools import Extension, setup

KERNELS = "src/fastconv/kernels"
SOURCES = {
    "levels": [f"{KERNELS}/{name}.c" for name in ("cpu", "scratch", "level_x86_v4", "level_x86_v3", "level_x86_v2", "level_neon", "level_scalar")],
    "threads": [],
    "tile": [],
    "direct": [],
    "gemm": [],
    "lane": [],
}
HEADERS = [str(path) for pattern in ("src/fastconv/kernels/*.h", "src/fastconv/drivers/*.pxd") for path in sorted(Path().glob(pattern))]


def openmp_flags() -> list[str]:
    """Return the compiler's flag for OpenMP, or none where a program with it does not build."""
    if os.environ.get("FASTCONV_OPENMP", "1") == "0" or sys.platform == "win32":
        return []
    compiler = os.environ.get("CC", "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
        command = [*compiler, "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
        probe = subprocess.run(command, capture_output=True, check=False)
    return ["-fopenmp"] if probe.returncode == 0 else []


OPENMP = openmp_flags()

# -ffp-contract=fast: ISO mode would switch multiply-adds off. Never -ffast-math: NaN and Inf behave as in NumPy.
FLAGS = ["-O3", "-std=c11", "-ffp-contract=fast", "-fvisibility=hidden", "-Wall", "-Wextra"]

setup(
    ext_modules=[
        Extension(
            f"fastconv.drivers.{name}",
            [f"src/fastconv/drivers/{name}.pyx", *sources],
            depends=HEADERS,
            include_dirs=[KERNELS, np.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=FLAGS + OPENMP,
            extra_link_args=OPENMP,
        )
        for name, sources in SOURCES.items()
    ]
)
