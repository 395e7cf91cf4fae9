"""The look at a wheel's shared objects finds what it is there to find."""

import shutil
import subprocess
import sys

import pytest

from tests.wheels.elf import weaknesses

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("cc") and shutil.which("readelf")), reason="links with cc, on Linux"
)

SOURCE = r"""
#include <string.h>
#ifdef BOTH
__asm__(".section .both,\"awx\",@progbits\n.byte 1\n.text");
#endif
__attribute__((visibility("default"))) int PyInit_part(char *text) {
    char copy[64];
    strcpy(copy, text);
    return copy[1];
}
"""
HARD = ["-fvisibility=hidden", "-fstack-protector-strong", "-Wl,-z,relro,-z,now,-z,noexecstack"]


def linked(folder, *flags):
    """Return a module made of SOURCE."""
    (folder / "part.c").write_text(SOURCE)
    command = ["cc", "-shared", "-fPIC", *HARD, *flags, "part.c", "-o", "part.so"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "part.so"


def test_nothing_is_wrong_with_a_hardened_module(tmp_path):
    assert weaknesses(linked(tmp_path)) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-Wl,-z,norelro"], "no RELRO"),
        (["-Wl,-z,lazy"], "no BIND_NOW"),
        (["-Wl,-z,execstack"], "executable stack"),
        (["-fno-stack-protector"], "no stack protector"),
        (["-Wl,-rpath,/opt/lib"], "a path to search for libraries"),
        (["-DBOTH"], "memory to write and to execute"),
        (["-DPyInit_part=PyInit_other"], "exports PyInit_other"),
    ],
)
def test_what_is_wrong_with_a_module_is_said(tmp_path, flags, words):
    assert words in weaknesses(linked(tmp_path, *flags))


def test_a_symbol_may_be_wanted(tmp_path):
    assert weaknesses(linked(tmp_path, "-DPyInit_part=wanted"), ["wanted"]) == []
