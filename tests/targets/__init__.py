"""Other CPUs: what each is emulated as, what is run on it, and what cannot be."""

from typing import NamedTuple


class Target(NamedTuple):
    """A CPU that qemu-user stands in for.

    Attributes
    ----------
    emulator : str
        Qemu's name of the instruction set.
    cpu : str or None
        Qemu's name of the model, or None for its default.
    levels : tuple of str
        The levels of fastconv that have to be there, the best first.
    debian, compiler : str
        Debian's name of the architecture, and the prefix of its cross compiler; empty for this machine's own programs.
    wheels : tuple of str
        The platforms of the wheels that PyPI has for it, or none: ml_dtypes is not in Debian.
    environment : dict
        Variables for the programs that run on it.
    """

    emulator: str
    cpu: str | None
    levels: tuple[str, ...]
    debian: str = ""
    compiler: str = ""
    wheels: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012, a tuple's default that nobody writes to


# cortex-a72 is without pointer authentication, whose emulation takes most of the time.
TARGETS = {
    "aarch64": Target(
        "aarch64",
        "cortex-a72",
        ("neon", "scalar"),
        "arm64",
        "aarch64-linux-gnu",
        ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
    ),
    "nehalem": Target("x86_64", "Nehalem-v1", ("x86_v2", "scalar"), environment={"OPENBLAS_CORETYPE": "Nehalem"}),
    "haswell": Target(
        "x86_64", "Haswell-v4", ("x86_v3", "x86_v2", "scalar"), environment={"OPENBLAS_CORETYPE": "Haswell"}
    ),
    "s390x": Target("s390x", None, ("scalar",), "s390x", "s390x-linux-gnu"),
}

# Every other file of tests is run, a new one too.
OMITTED = {
    "test_bench.py": "measures, and asks for the packages that are measured",
    "test_docs.py": "runs examples, whose arithmetic the other files have",
    "test_failing_memory.py": "counts this machine's allocations in processes of its own",
    "test_fuzz.py": "compiles for this machine, with its sanitizers",
    "test_hostile.py": "limits the memory of processes, which is qemu's there",
    "test_interrupts.py": "times signals, which qemu keeps back",
    "test_layers.py": "reads the sources, which are the same everywhere",
    "test_leaks.py": "counts memory, which is qemu's there",
    "test_lines.py": "measures, and asks for the packages that are measured",
    "test_patch.py": "is about Python objects, and starts an interpreter for most tests",
    "test_peers.py": "is about Python objects, and starts an interpreter for most tests",
    "test_promises.py": "reads documents and names of tests",
    "test_run.py": "is about Python objects, and starts an interpreter for most tests",
    "test_targets.py": "is about this command",
    "test_threads.py": "forks processes with threads, which qemu-user does not promise to survive",
    "test_threads_elsewhere.py": "forks processes with threads, which qemu-user does not promise to survive",
    "test_tune.py": "measures, and keeps what it finds of this CPU",
    "test_wheels.py": "is about the files that users install",
}

# The short form: the level that runs, the bits that are kept, half precision and bytes.
QUICK = ("test_levels.py", "test_golden.py", "test_half.py", "test_results.py", "test_quantised.py")

# Tests of the files that are run, by file and name.
UNSUITED: dict[str, str] = {}
