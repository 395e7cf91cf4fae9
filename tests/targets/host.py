"""This machine: its programs, and packages installed where they are missing."""

import os
import shutil
import subprocess


class Unavailable(Exception):
    """A target that cannot be run here, and what it would need."""


def is_there(file):
    """Whether a program is on the path, or a file where its full name says."""
    return os.path.exists(file) if os.path.isabs(file) else shutil.which(file) is not None


def need(files, install):
    """See to it that programs and files are there, which Debian and Ubuntu have packages of.

    Parameters
    ----------
    files : dict
        The package that has each of them.
    install : bool
        Whether missing packages may be installed.
    """
    missing = [package for file, package in files.items() if not is_there(file)]
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
    if left := [file for file in files if not is_there(file)]:
        raise Unavailable(f"{command} did not bring {', '.join(left)}")


def attempt(command, otherwise, **options):
    """Run a command that needs the network or a package; its failure makes the target unavailable."""
    print("+", *map(str, command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise Unavailable(f"{otherwise}\n{done.stdout.strip()}")
