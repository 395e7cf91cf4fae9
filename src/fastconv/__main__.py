"""Command line: ``python -m fastconv info`` and ``python -m fastconv run script.py args...``."""

from __future__ import annotations

import argparse
import sys

from . import show_config
from ._run import CannotRun, run


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
    options = parser.parse_args(arguments)
    if options.command == "info":
        show_config()
        return
    program = options.module or options.program
    if not program:
        running.error("a script or -m module is required")
    try:
        run(program[0], program[1:], as_module=bool(options.module), report=options.report)
    except CannotRun as error:
        print(f"{sys.executable}: {error}", file=sys.stderr)
        sys.exit(error.status)


if __name__ == "__main__":
    main()
