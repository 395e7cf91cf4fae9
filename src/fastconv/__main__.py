"""Command line: ``python -m fastconv info`` and ``python -m fastconv run script.py args...``."""

from __future__ import annotations

import argparse
import sys

from . import show_config
from ._errors import ConvTypeError
from ._run import CannotRun, run
from ._tune import tune


def main(arguments: list[str] | None = None) -> None:
    """Run a command of ``python -m fastconv``."""
    parser = argparse.ArgumentParser(
        prog="python -m fastconv", description="Fast convolution for NumPy arrays on CPUs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="show the CPU level, threads, compiler and versions")
    running = commands.add_parser(
        "run",
        help="run a script or module with SciPy's and NumPy's convolutions replaced",
        description="Run a Python program with SciPy's and NumPy's convolutions replaced by fastconv's.",
        usage="%(prog)s [-h] [--report] (script.py | -m module) [arguments ...]",
        allow_abbrev=False,
    )
    running.add_argument(
        "--report",
        action="store_true",
        help="print to stderr at the end which calls were taken, how often, and the time they took",
    )
    # All that follows belongs to the program, options too.
    running.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="module", help="run a module")
    running.add_argument("program", nargs=argparse.REMAINDER, help="script to run, and its arguments")
    tuning = commands.add_parser(
        "tune",
        help="fit the choice of algorithms to this CPU",
        description="Time small layers, fit the choice of algorithms to this CPU, and keep what was found in a file.",
    )
    tuning.add_argument("--seconds", type=float, default=25.0, help="how long to measure, about (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.command == "info":
        show_config()
        return
    if options.command == "tune":
        run_tune(options.seconds)
        return
    program = options.module or options.program
    if not program:
        running.error("a script or -m module is required")
    try:
        run(program[0], program[1:], as_module=bool(options.module), report=options.report)
    except CannotRun as error:
        print(f"{sys.executable}: {error}", file=sys.stderr)
        sys.exit(error.status)


def run_tune(seconds: float) -> None:
    """Tune, show how far it is where somebody looks on, and say what came of it."""

    def show(done: float) -> None:
        print(f"\r{done:4.0%}", end="", file=sys.stderr, flush=True)

    try:
        found = tune(seconds, progress=show if sys.stderr.isatty() else None)
    except (ConvTypeError, OSError) as error:
        print(f"{sys.executable}: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"\r{found.cpu}, {found.level}: {found.layers} layers")
    if found.layers:
        print(f"picked what is within 10 % of the best: {found.hits_before:.0%} before, {found.hits_after:.0%} now")
    print(f"written to {found.path}" if found.path else "written nowhere: FASTCONV_WISDOM is empty")


if __name__ == "__main__":
    main()
