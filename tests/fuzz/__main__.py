"""Call every kernel of every level with random arguments, and compare with plain loops.

``python -m tests.fuzz`` compiles the cases and runs them on the kernels of the installed fastconv, on every level that
this CPU has, in memory whose surroundings cannot be touched unnoticed. A case that fails names its number: ``--level L
--seed S --at N`` runs that one alone. ``--libfuzzer SECONDS`` compiles cases and kernels with clang, its libFuzzer and
its sanitizers, and lets that look for arguments which no random number finds.
"""

import argparse
import ctypes
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
KERNELS = PROJECT / "src/fastconv/kernels"
CASES = sorted(HERE.glob("*.c"))
# No multiply-adds: what the kernels are compared with is rounded as it is written.
FLAGS = ["-O2", "-g", "-std=gnu11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{KERNELS}"]
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
TEXT_BYTES = 1 << 14


def main():
    """Do what the command line says; exit with the number of levels on which a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000, metavar="N", help="on each level")
    parser.add_argument("--level", action="append", help="instead of all levels; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at", type=int, metavar="N", help="run the case of that number alone")
    parser.add_argument("--libfuzzer", type=int, metavar="SECONDS", help="let clang's libFuzzer draw")
    parser.add_argument("--child", metavar="LIBRARY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_here(
            options.child, options.level[0], options.at or 0, options.cases if options.at is None else 1, options.seed
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.libfuzzer:
            sys.exit(run_libfuzzer(Path(folder), options.libfuzzer))
        library = build(Path(folder))
        if library is None:
            sys.exit("no C compiler")
        failed = [level for level in options.level or all_levels() if not shows(library, level, options)]
    print(f"failed: {', '.join(failed)}" if failed else "passed")
    sys.exit(len(failed))


def all_levels():
    """Return the levels that this CPU runs."""
    from fastconv.drivers import levels

    return levels.available()


def compiler(default="cc"):
    """Return the command that compiles C, as setup.py finds it."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or default)


def build(folder):
    """Compile the cases to a shared library; return its path, or None without a compiler."""
    library = folder / "fuzz.so"
    sanitizers = [flag for flag in shlex.split(os.environ.get("CFLAGS", "")) if flag.startswith("-fsanitize")]
    command = [*compiler(), *FLAGS, *sanitizers, "-shared", "-fPIC", *map(str, CASES), "-o", str(library), "-lm"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        return None
    return library


def run_here(library, level, first, cases, seed):
    """Run cases in this process, which one that fails ends, and print how often each kernel was called."""
    from fastconv.drivers import levels

    text = ctypes.create_string_buffer(TEXT_BYTES)
    run = ctypes.CDLL(library).fuzz_run
    run.argtypes = (
        ctypes.c_void_p,
        ctypes.c_long,
        ctypes.c_long,
        ctypes.c_ulonglong,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    if not run(levels.address(level), first, cases, seed, text, TEXT_BYTES):
        sys.exit("more kernels than there is room for")
    sys.stdout.write(text.value.decode())


def run_level(library, level, *, cases, seed, at=None):
    """Run cases on a level in a process of their own; return what it printed and its exit code."""
    command = [sys.executable, "-m", "tests.fuzz", "--child", str(library), "--level", level]
    command += ["--cases", str(cases), "--seed", str(seed), *([] if at is None else ["--at", str(at)])]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def calls_of(done):
    """Return how often each kernel was called, by its name in fc_level."""
    return {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines())}


def shows(library, level, options):
    """Run a level and print what came of it; return whether all is well."""
    done = run_level(library, level, cases=options.cases, seed=options.seed, at=options.at)
    if done.returncode:
        print(f"{level}: {done.stderr.strip()}", flush=True)
        return False
    calls = calls_of(done)
    print(f"{level}: {options.cases} cases, {sum(calls.values())} calls of {len(calls)} kernels", flush=True)
    return True


def run_libfuzzer(folder, seconds):
    """Compile cases and kernels for libFuzzer and run it; return its exit code."""
    program = folder / "fuzz"
    objects = []
    common = [f"-I{KERNELS}", "-g", SANITIZERS, "-fno-sanitize-recover=undefined", "-DFUZZ_LIBFUZZER"]
    # Conversions out of range are made on purpose, as the machines make them.
    common += ["-fno-sanitize=float-cast-overflow", "-fno-sanitize=function"]
    kernels = [path for path in sorted(KERNELS.glob("*.c")) if path.name != "scratch.c"]
    flags = {path: ["-O1", "-std=c11", "-ffp-contract=fast"] for path in kernels}
    flags |= {path: ["-O1", "-std=gnu11", "-ffp-contract=off"] for path in CASES}

    def compile_one(path):
        target = folder / f"{path.stem}.o"
        objects.append(str(target))
        subprocess.run(["clang", *common, *flags[path], "-c", str(path), "-o", str(target)], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, flags))
    subprocess.run(["clang", SANITIZERS, *objects, "-lm", "-o", str(program)], check=True)
    environment = os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1"}
    command = [str(program), f"-max_total_time={seconds}", "-max_len=400", "-print_final_stats=1"]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    main()
