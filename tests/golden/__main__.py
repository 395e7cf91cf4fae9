"""Write the hashes of results anew: ``python -m tests.golden``.

Levels that disagree with each other are an error, whatever was kept before.
"""

import sys

from fastconv.drivers import levels
from tests._tools import at_level, fused_levels
from tests.golden import HASHES, cases_of_floats, cases_of_integers, digest

HEADER = """\
# sha256 of the results of the layers in __init__.py, little-endian, channels second. Written by python -m tests.golden.
"""


def main():
    """Compute every case in every way on every level that has to agree, and write one line for each."""
    lines = [*agreed(cases_of_floats(), fused_levels()), *agreed(cases_of_integers(), levels.available())]
    HASHES.write_text(HEADER + "".join(lines), "utf-8")
    print(f"wrote {len(lines)} hashes to {HASHES}")


def agreed(cases, names):
    """Return the line of each case; exit if its results differ or no level has to agree."""
    if not names:
        sys.exit("none of the levels of this CPU has a fused multiply-add")
    for case, ways in cases.items():
        found = set()
        for name in names:
            with at_level(name):
                found |= {digest(way()) for way in ways}
        if len(found) != 1:
            sys.exit(f"{case}: {len(found)} different results on the levels {', '.join(names)}")
        yield f"{found.pop()}  {case}\n"


if __name__ == "__main__":
    main()
