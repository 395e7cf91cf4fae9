"""This machine: its programs, and packages installed where they are missing."""

import os
import shutil
import subprocess


class Unavailable(Exception):
    """A target that cannot be run here, and what it would need."""


def need(programs, install):
    """See to it that programs are there, which are Debian packages by name.

    Parameters
    ----------
    programs : dict
        The package that has each program.
    install : bool
        Whether missing packages may be installed.
    """
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if not missing:
        return
    command = f"apt-get install {' '.join(missing)}"
    if not install:
        raise Unavailable(f"needs packages: {command}")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"needs packages, which only root on Debian or Ubuntu can have installed: {command}")
    quiet = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        attempt([*quiet, *step], f"needs packages that could not be installed: {command}", env=environment)
    if left := [program for program in programs if not shutil.which(program)]:
        raise Unavailable(f"{command} did not bring {', '.join(left)}")


def attempt(command, otherwise, **options):
    """Run a command that needs the network or a package; its failure makes the target unavailable."""
    print("+", *map(str, command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise Unavailable(f"{otherwise}\n{done.stdout.strip()}")
