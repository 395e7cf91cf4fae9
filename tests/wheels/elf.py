"""Whether a shared object is linked the way that leaves an attacker least, by readelf."""

import re
import subprocess


def weaknesses(path, exports=()):
    """Return what is wrong with a shared object, as words, an empty list for nothing.

    Parameters
    ----------
    path : path-like
        A shared object.
    exports : collection of str
        The symbols it may export beside its ``PyInit_``.
    """
    headers = readelf("--program-headers", path)
    dynamic = readelf("--dynamic", path)
    symbols = readelf("--dyn-syms", path)
    stack = re.search(r"GNU_STACK(?:\s+0x[0-9a-f]+){5}\s+([RWE ]{3})", headers)
    text = re.findall(r"LOAD(?:\s+0x[0-9a-f]+){5}\s+([RWE ]{3})", headers)
    found = {
        "no RELRO": "GNU_RELRO" not in headers,
        "no BIND_NOW": not re.search(r"BIND_NOW|Flags:.*\bNOW\b", dynamic),
        "executable stack": stack is None or "E" in stack[1],
        "memory to write and to execute": any("W" in flags and "E" in flags for flags in text),
        "relocations in code": "TEXTREL" in dynamic,
        "a path to search for libraries": any(
            not entry.startswith("$ORIGIN") for entry in re.findall(r"R(?:UN)?PATH\).*\[(.*)\]", dynamic)
        ),
        "no stack protector": "__stack_chk_fail" not in symbols,
    }
    allowed = {f"PyInit_{str(getattr(path, 'name', path)).split('.')[0]}", *exports}
    if more := sorted(exported(symbols) - allowed):
        found[f"exports {', '.join(more[:4])}"] = True
    return [words for words, is_so in found.items() if is_so]


def exported(symbols):
    """Return the names that readelf's table of symbols defines for others."""
    rows = (line.split() for line in symbols.splitlines())
    return {
        row[7].split("@")[0]
        for row in rows
        if len(row) > 7 and row[4] in ("GLOBAL", "WEAK") and row[5] == "DEFAULT" and row[6] != "UND"
    }


def readelf(what, path):
    """Return what readelf says, in English and not cut to a terminal's width."""
    command = ["readelf", "--wide", what, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": PATH}).stdout


PATH = "/usr/bin:/bin:/usr/local/bin"
