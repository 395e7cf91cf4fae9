"""``python -m fastconv run`` is Python, but for the functions it replaces."""

import os
import signal
import subprocess
import sys
import zipfile

import pytest

FASTCONV = ["-m", "fastconv", "run"]

# What a program can see of how it was started.
LOOK = """
import os, sys
sys.modules.pop("fastconv", None)
main = sys.modules["__main__"]
assert main.__dict__ is globals(), main
print(sys.argv, __name__, repr(__file__), repr(sys.path[0]), __package__, __doc__)
print(__spec__ and (__spec__.name, __spec__.origin), type(__loader__).__name__, __builtins__)
print(sorted(name for name in globals() if name not in ("os", "sys", "main", "__annotations__")))
"""


def python(*arguments, folder, scipy=True):
    """Return the exit status, output and errors of a Python process."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if not scipy:
        (folder / "none").mkdir(exist_ok=True)
        (folder / "none/scipy.py").write_text("raise ImportError")
        paths.insert(0, str(folder / "none"))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    return done.returncode, done.stdout, done.stderr


def assert_as_python(*arguments, folder):
    """Run a program without and with fastconv; return what came of it."""
    # Without SciPy, which takes most of the time to start.
    expected = python(*arguments, folder=folder, scipy=False)
    assert python(*FASTCONV, *arguments, folder=folder, scipy=False) == expected
    return expected


@pytest.fixture
def program(tmp_path):
    """Write a program; return its folder."""

    def write(text, name="program.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_a_script_sees_what_it_sees_without(program):
    folder = program('"""Its docstring."""\n' + LOOK, "scripts/look.py")
    _, out, _ = assert_as_python("scripts/look.py", "--report", "-m", "x y", "--", "-h", folder=folder)
    assert "['scripts/look.py', '--report', '-m', 'x y', '--', '-h'] __main__" in out


def test_a_module_and_a_package(program):
    folder = program(LOOK, "package/inner.py")
    program(LOOK, "package/__main__.py")
    program("", "package/__init__.py")
    assert "inner.py', '--report', '7']" in assert_as_python("-m", "package.inner", "--report", "7", folder=folder)[1]
    assert "__main__.py', '-m', 'x']" in assert_as_python("-m", "package", "-m", "x", folder=folder)[1]


def test_a_folder_and_an_archive(program):
    folder = program(LOOK, "app/__main__.py")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(folder / "app/__main__.py", "__main__.py")
    for name in ("app", "app.zip"):
        assert "__main__" in assert_as_python(name, "1", folder=folder)[1]


ENDS = {
    "error": ("def f():\n    return 1 / 0\ntry:\n    f()\nfinally:\n    print('last')\n", 1),
    "message": ("import sys\nprint('before')\nsys.exit('a message')\n", 1),
    "status": ("raise SystemExit(3)\n", 3),
    "atexit": (
        "import atexit, threading\natexit.register(print, 'at exit')\n"
        "threading.Thread(target=print, args=['thread']).start()\n",
        0,
    ),
    "syntax": ("x = (1,\nprint('never'\n", 1),
    "coding": ("# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))\n", 0),
    "hook": (
        "import sys\nsys.excepthook = lambda *error: print('hook', error[0], error[2].tb_lineno)\nraise KeyError(1)\n",
        1,
    ),
}


@pytest.mark.parametrize(("text", "status"), ENDS.values(), ids=ENDS)
def test_ends_as_python_does(program, text, status):
    folder = program(text)
    assert assert_as_python("program.py", folder=folder)[0] == status


def test_an_interrupt_is_told_by_the_status(program):
    folder = program("import atexit\natexit.register(print, 'at exit')\nraise KeyboardInterrupt\n")
    status, out, _ = assert_as_python("program.py", folder=folder)
    assert (status, out) == (-signal.SIGINT, "at exit\n")


@pytest.mark.parametrize(
    "arguments", [["missing.py"], ["-m", "missing"], ["-m", "package"], ["-m", "missing.module"], ["."]]
)
def test_nothing_to_run(program, arguments):
    folder = program("", "package/__init__.py")
    status, out, _ = assert_as_python(*arguments, folder=folder)
    assert status in (1, 2)
    assert out == ""


def test_the_command_line_itself(program):
    folder = program("")
    status, _, error = python(*FASTCONV, folder=folder)
    assert status == 2
    assert "a script or -m module is required" in error
    status, out, _ = python(*FASTCONV, "--help", folder=folder)
    assert status == 0
    assert "[--report] (script.py | -m module) [arguments ...]" in out
    assert python(*FASTCONV, "--rep", "program.py", folder=folder)[0] == 2


def test_classes_of_the_program_can_be_pickled(program):
    folder = program(
        "import pickle\nclass Thing:\n    pass\nprint(type(pickle.loads(pickle.dumps(Thing()))) is Thing)\n"
    )
    assert assert_as_python("program.py", folder=folder)[1] == "True\n"


WORK = """
import sys
import numpy as np
from scipy.ndimage import uniform_filter as blur
from scipy.signal import convolve2d
x = np.ones((8, 8))
for _ in range(3):
    convolve2d(x, x[:3, :3])
blur(x.astype(object) if len(sys.argv) > 2 else x)
np.convolve(x[0], np.array([1, 2], object))
print("output")
if len(sys.argv) > 1:
    exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(4)", 4), ("1 / 0", 1), ("import atexit; atexit.register(np.convolve, [1], [2])", 0)],
)
def test_the_report_comes_last_however_it_ends(program, end, status):
    folder = program(WORK)
    got, out, error = python(*FASTCONV, "--report", "program.py", end, folder=folder)
    assert got == status
    assert out == "output\n"
    before, heading, report = error.partition("fastconv took ")
    assert ("ZeroDivisionError" in before) == (status == 1)
    lines = (heading + report).splitlines()
    taken = 5 if "atexit" in end else 4
    assert lines[0].startswith(f"fastconv took {taken} of {taken + 1} calls of functions it replaces, in ")
    table = {line.split(None, 3)[3]: int(line.split()[0]) for line in lines if line.split()[0].isdigit()}
    expected = {
        "scipy.signal.convolve2d": 3,
        "scipy.ndimage.uniform_filter": 1,
        "numpy.convolve: v: got dtype object": 1,
    }
    assert table == expected | ({"numpy.convolve": 1} if taken == 5 else {})


def test_the_report_of_a_module_and_none_without_being_asked(program):
    folder = program(WORK)
    assert "scipy.signal.convolve2d" in python(*FASTCONV, "--report", "-m", "program", folder=folder)[2]
    assert python(*FASTCONV, "program.py", folder=folder) == (0, "output\n", "")
