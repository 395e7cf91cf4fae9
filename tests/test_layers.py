"""A module imports only from below it in the picture of `fastconv`'s docstring."""

import ast
import re
from pathlib import Path

# The sources: an installed package has no .pyx.
PACKAGE = Path(__file__).parents[1] / "src" / "fastconv"

# From the top of the picture to the bottom; modules of one rank do not know each other, unless SIDEWAYS says so.
RANKS = (
    {"__main__"},
    {"__init__"},
    {"_config", "_run", "_threadpoolctl"},
    {"_patch"},
    {"signal", "ndimage", "nn", "_numpy"},
    {"_ndimage_calls"},
    {
        "signal._n_d",
        "signal._spectral",
        "signal._two_d",
        "_ndimage_passes",
        "nn._forward",
        "nn._quantised",
        "nn._transposed",
        "nn._unfold",
        "nn.grad",
    },
    {"signal._arguments", "_ndimage_args", "nn._arguments"},
    {"_filters", "_pairs", "_gradients"},
    {"_arrange", "_transposed", "_weight_gradient"},
    {"_planned", "_tune"},
    {"_measure"},
    {"core", "_quantised", "_windows"},
    {"_plan", "_draw"},
    {"planners.fft", "planners.phases"},
    {"planners.gradient"},
    {
        f"planners.{name}"
        for name in (
            "depthwise",
            "direct",
            "gemm",
            "lattices",
            "matrices",
            "parts",
            "quantised",
            "reference",
            "rows",
            "separable",
            "winograd",
        )
    },
    {"planners.pixels", "planners.wrapper"},
    {"planners.tiles"},
    {"planners"},
    {"_problem", "_costs"},
    {"drivers.phases"},
    {
        f"drivers.{name}"
        for name in (
            "depthwise",
            "direct",
            "fft",
            "gate",
            "gemm",
            "gradient",
            "lane",
            "pixels",
            "quantised",
            "separable",
            "turn",
            "windows",
            "winograd",
        )
    },
    {"drivers.tile"},
    {"drivers.threads"},
    {"drivers.levels", "drivers.results"},
    {"drivers.kernels", "drivers"},
    {"_reference", "_errors", "_tunables", "_epilogue", "_report", "_wisdom"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}

CIMPORT = re.compile(r"^\s*(?:from\s+(fastconv[\w.]*)\s+c?import\s+(.+)|c?import\s+(fastconv[\w.]*))", re.MULTILINE)


def modules():
    """Return the name, relative to the package, and the source file of every module."""
    sources = [*PACKAGE.glob("*.py")]
    sources += [
        path
        for folder in ("drivers", "planners", "signal", "nn")
        for path in (PACKAGE / folder).iterdir()
        if path.suffix in (".py", ".pyx", ".pxd")
    ]
    return [
        (".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"), path) for path in sources
    ]


def resolve(parent, name):
    """Return the module that `from parent import name` reads: parent.name if there is one, else parent."""
    inner = f"{parent}.{name}" if parent else name
    return inner if inner in RANK else parent or "__init__"


def imported_by_python(name, path):
    """Return the modules of this package that a Python source imports, wherever in it the statement stands."""
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    package = [] if name == "__init__" else package
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                start = package[: len(package) - (node.level - 1)]
                parent = ".".join([*start, *(node.module.split(".") if node.module else [])])
            elif node.module and node.module.split(".")[0] == "fastconv":
                parent = ".".join(node.module.split(".")[1:])
            else:
                continue
            found |= {resolve(parent, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                ".".join(alias.name.split(".")[1:]) or "__init__"
                for alias in node.names
                if alias.name.split(".")[0] == "fastconv"
            }
    return found


def imported_by_cython(path):
    """Return the modules of this package that a Cython source imports or cimports."""
    found = set()
    for parent, names, whole in CIMPORT.findall(path.read_text(encoding="utf-8")):
        if whole:
            found.add(".".join(whole.split(".")[1:]) or "__init__")
        else:
            inside = ".".join(parent.split(".")[1:])
            found |= {resolve(inside, name.split(" as ")[0].strip(" ()")) for name in names.split(",")}
    return found


def test_every_module_has_its_place():
    assert {name for name, _ in modules()} == RANK.keys()


def test_imports_go_one_way():
    wrong = []
    seen = 0
    for name, path in modules():
        imports = imported_by_python(name, path) if path.suffix == ".py" else imported_by_cython(path)
        imports -= {name}  # a .pyx and its own .pxd
        seen += len(imports)
        wrong += [f"{path.name} imports {other}" for other in sorted(imports) if not RANK[name] < RANK.get(other, -1)]
    assert wrong == []
    # Fewer would mean that the statements are no longer found.
    assert seen > 40


def test_the_reference_stands_alone():
    assert imported_by_python("_reference", PACKAGE / "_reference.py") == set()


def test_import_statements_are_understood(tmp_path):
    source = tmp_path / "ndimage.py"
    source.write_text(
        "from . import core, signal\nfrom .drivers.lane import Lane\n"
        "import fastconv._plan\nfrom fastconv import _errors\n"
    )
    assert imported_by_python("ndimage", source) == {"core", "signal", "drivers.lane", "_plan", "_errors"}
    source = tmp_path / "direct.pyx"
    source.write_text(
        "from fastconv.drivers.tile cimport Arrays\n    from fastconv import _tunables, _plan\ncimport numpy\n"
    )
    assert imported_by_cython(source) == {"drivers.tile", "_tunables", "_plan"}


def test_kernels_know_no_python():
    sources = [*(PACKAGE / "kernels").glob("*.[ch]")]
    assert sources
    for path in sources:
        assert "Python.h" not in path.read_text(encoding="utf-8"), path.name
        assert "omp.h" not in path.read_text(encoding="utf-8"), path.name
