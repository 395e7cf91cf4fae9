"""The files of a Debian of another CPU: its Python with NumPy, SciPy and pytest, unpacked and not set up."""

import json
import shutil

from .host import attempt, need

# A suite whose NumPy is 2.x. Its first repository alone: what changes daily is not in step on every mirror.
SUITE = "trixie"
SOURCE = f"deb http://deb.debian.org/debian {SUITE} main"
PACKAGES = (
    "libgomp1",
    "libpython3-dev",
    "python3",
    "python3-hypothesis",
    "python3-numpy",
    "python3-pytest",
    "python3-scipy",
)


def make_root(target, folder, install):
    """Unpack the packages into a folder, unless it has them, and return the folder."""
    root, marker = folder / "root", folder / "root.json"
    wanted = json.dumps([SOURCE, target.debian, PACKAGES])
    if marker.exists() and marker.read_text("utf-8") == wanted:
        return root
    need({"mmdebstrap": "mmdebstrap"}, install)
    shutil.rmtree(root, ignore_errors=True)
    marker.unlink(missing_ok=True)
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--arch={target.debian}"]
    command += [f"--include={','.join(PACKAGES)}", SUITE, str(root), SOURCE]
    attempt(command, "needs packages of another architecture, which could not be fetched")
    link_what_scripts_would(root, target)
    marker.write_text(wanted, "utf-8")
    return root


def link_what_scripts_would(root, target):
    """Make the links that packages make when they are set up, which programs of this machine's CPU would do."""
    for name in ("lib", "lib64"):
        if (root / "usr" / name).is_dir() and not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    libraries = root / "usr/lib" / target.compiler
    for name in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
        link = libraries / name.partition("/")[2]
        if not link.exists():
            link.symlink_to(name)


def fetch_wheels(target, root, folder, python):
    """Unpack what Debian does not have, by a Python of this machine, and return the folder; it may be empty."""
    wheels = folder / "wheels"
    if target.wheels and not wheels.exists():
        version = next((root / "usr/include").glob("python3.*")).name.removeprefix("python")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
        command += [f"--platform={platform}" for platform in target.wheels]
        attempt([*command, f"--target={wheels}", "ml_dtypes"], "needs a wheel that could not be fetched")
    return wheels
