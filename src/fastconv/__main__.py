"""Command line: ``python -m fastconv info``."""

from __future__ import annotations

import argparse

from . import show_config


def main(arguments: list[str] | None = None) -> None:
    """Run a command of ``python -m fastconv``."""
    parser = argparse.ArgumentParser(
        prog="python -m fastconv", description="Fast convolution for NumPy arrays on CPUs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="show the CPU level, threads, compiler and versions")
    parser.parse_args(arguments)
    show_config()


if __name__ == "__main__":
    main()
