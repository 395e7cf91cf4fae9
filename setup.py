"""The extension modules; everything else is in pyproject.toml."""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
from setuptools import Extension, setup

KERNELS = "src/fastconv/kernels"
LEVELS = ("x86_v4", "x86_v3", "x86_v2", "neon", "scalar")
SOURCES = {
    "levels": [f"{KERNELS}/{name}.c" for name in ("cpu", "scratch", *(f"level_{level}" for level in LEVELS))],
    "threads": [],
    "tile": [],
    "results": [],
    "direct": [],
    "gemm": [],
    "pixels": [],
    "fft": [],
    "winograd": [],
    "phases": [],
    "gradient": [],
    "depthwise": [],
    "separable": [],
    "quantised": [],
    "lane": [],
    "gate": [],
    "windows": [],
}
HEADERS = sorted(
    str(path) for pattern in ("kernels/*.h", "drivers/*.pxd") for path in Path("src/fastconv").glob(pattern)
)


def openmp_flags() -> list[str]:
    """Return the compiler's flag for OpenMP, or none where a program with it does not build."""
    if os.environ.get("FASTCONV_OPENMP", "1") == "0" or sys.platform == "win32":
        return []
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n", encoding="ascii")
        command = [*compiler, "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
        probe = subprocess.run(command, capture_output=True, check=False)
    return ["-fopenmp"] if probe.returncode == 0 else []


OPENMP = openmp_flags()

# gnu11: ISO mode computes floats as doubles on CPUs like s390x, and does not mix those with vectors of floats.
# -ffp-contract=fast: fuses multiply-adds in clang too. Never -ffast-math: NaN and Inf behave as in NumPy.
FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=fast", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Python's own flags ask for debug information, six times the size of the code. CFLAGS can still ask for it.
if "-g" not in os.environ.get("CFLAGS", ""):
    FLAGS.append("-g0")
# Without OpenMP, Cython still counts the rounds of a prange, for nobody. Modules with sources in C keep the warning.
CYTHON_ONLY_FLAGS = [] if OPENMP else ["-Wno-unused-but-set-variable"]

setup(
    # The C files that Cython makes go to build/, not beside their sources.
    options={"build_ext": {"cython_c_in_temp": True}},
    ext_modules=[
        Extension(
            f"fastconv.drivers.{name}",
            [f"src/fastconv/drivers/{name}.pyx", *sources],
            depends=HEADERS,
            include_dirs=[KERNELS, np.get_include()],
            # What `drivers/results.pyx` needs is there since NumPy 1.22.
            define_macros=[
                ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
                ("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION"),
            ],
            extra_compile_args=FLAGS + OPENMP + ([] if sources else CYTHON_ONLY_FLAGS),
            extra_link_args=OPENMP,
        )
        for name, sources in SOURCES.items()
    ],
)
