"""The extension modules; everything else is in pyproject.toml."""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from setuptools import Extension, setup

from distutils.ccompiler import CCompiler  # isort: skip  (setuptools' own, once that is imported)

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
    "turn": [],
}
HEADERS = sorted(
    str(path)
    for pattern in ("kernels/*.h", "drivers/*.h", "drivers/*.pxd")
    for path in Path("src/fastconv").glob(pattern)
)


CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CFLAGS = os.environ.get("CFLAGS", "")
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")

compile_one_by_one = CCompiler.compile


def compile_side_by_side(self: CCompiler, sources: list[str], *args: Any, **options: Any) -> list[str]:
    """Compile the sources of an extension on all CPUs: those of the levels take longer than all others together."""
    with ThreadPoolExecutor(CPUS) as pool:
        # They come sorted by name, and what takes longest, the best level of x86, is best begun with.
        tasks = [pool.submit(compile_one_by_one, self, [source], *args, **options) for source in reversed(sources)]
        return [name for task in reversed(tasks) for name in task.result()]


CCompiler.compile = compile_side_by_side


def openmp_flags() -> tuple[list[str], list[str]]:
    """Return what the compiler and the linker want for OpenMP, or nothing where no program with it builds and runs."""
    if os.environ.get("FASTCONV_OPENMP", "1") == "0" or sys.platform == "win32":
        return [], []
    before, behind = (shlex.split(os.environ.get(name, "")) for name in ("CPPFLAGS", "LDFLAGS"))
    # Apple's clang has no OpenMP of its own, but makes use of a libomp that these variables lead it to.
    for compiling, linking in (["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"]):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(
                "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n", encoding="ascii"
            )
            program = str(source.with_suffix(""))
            command = [*COMPILER, *before, *shlex.split(CFLAGS), *compiling, str(source), "-o", program]
            if subprocess.run([*command, *behind, *linking], capture_output=True, check=False).returncode == 0:
                return compiling, linking
    return [], []


def hardening_flags() -> tuple[list[str], list[str]]:
    """Return what makes an overflow end the process instead of serving an attacker, for ELF's compilers and linkers."""
    # Sanitizers see more without it.
    if not sys.platform.startswith("linux") or "-fsanitize" in CFLAGS:
        return [], []
    compiling = ["-fstack-protector-strong", "-fstack-clash-protection", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    # Not of the machine at hand: CC may be a cross compiler.
    machine = subprocess.run([*COMPILER, "-dumpmachine"], capture_output=True, text=True, check=False).stdout
    if machine.startswith("x86_64"):
        compiling.append("-fcf-protection")
    return compiling, ["-Wl,-z,relro,-z,now,-z,noexecstack"]


OPENMP, OPENMP_LINK = openmp_flags()
HARDENING, HARDENING_LINK = hardening_flags()

# gnu11: ISO mode computes floats as doubles on CPUs like s390x, and does not mix those with vectors of floats.
# -ffp-contract=fast: fuses multiply-adds in clang too. Never -ffast-math: NaN and Inf behave as in NumPy.
FLAGS = ["-std=gnu11", "-ffp-contract=fast", "-fvisibility=hidden", "-Wall", "-Wextra"]
LINK = []
# Python's own flags ask for less. CFLAGS stand before these: a level of optimisation that they name is kept.
OPTIMISE = [] if any(flag.startswith("-O") for flag in shlex.split(CFLAGS)) else ["-O3"]
# Python's own flags ask for debug information, six times the size of the code. CFLAGS can still ask for it.
if "-g" not in CFLAGS:
    FLAGS.append("-g0")
    LINK += ["-Wl,-s"] if sys.platform.startswith("linux") else []

setup(
    # The C files that Cython makes go to build/, not beside their sources.
    # Functions without a signature to look at are half the size; threads.pyx, which users call, has them.
    options={"build_ext": {"cython_c_in_temp": True, "parallel": CPUS, "cython_directives": {"binding": False}}},
    ext_modules=[
        Extension(
            f"fastconv.drivers.{name}",
            [f"src/fastconv/drivers/{name}.pyx", *sources],
            depends=HEADERS,
            include_dirs=[KERNELS, "src/fastconv/drivers", np.get_include()],
            # What `drivers/results.pyx` needs is there since NumPy 1.22.
            define_macros=[
                ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
                ("NPY_TARGET_VERSION", "NPY_1_22_API_VERSION"),
            ],
            # All regions are in one module.
            extra_compile_args=[*FLAGS, *HARDENING, *OPTIMISE, *(OPENMP if name == "threads" else [])],
            extra_link_args=[*LINK, *HARDENING_LINK, *(OPENMP_LINK if name == "threads" else [])],
        )
        for name, sources in SOURCES.items()
    ],
)
