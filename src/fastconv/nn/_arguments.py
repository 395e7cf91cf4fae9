"""What the functions of all ranks and directions share: layouts, numbers for every axis, torch's names in messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import _problem
from .._errors import ConvError, ConvTypeError

# Orders of the axes by the number of spatial ones. torch says L for the samples of a series, most others say W.
FORMATS = {1: ("NCW", "NWC", "NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}

# What torch calls the core's operands, where a message is about one.
_OPERANDS = re.compile(r"^(?:x|w|grad)(?=: )|(?<= for )x(?= of shape )|(?<=channels of )x(?= of shape )")
_TORCH_NAMES = {"x": "input", "w": "weight", "grad": "grad_output"}


def layout_of(data_format: Any, shape: tuple[int, ...], rank: int, name: str) -> str:
    """Return the core's layout for an array of a shape, with or without a batch."""
    layout = _problem.one_of(data_format, "data_format", FORMATS[rank])
    if len(shape) not in (rank + 1, rank + 2):
        raise ConvError(
            f"{name}: got {len(shape)} axes of shape {shape}, allowed: {rank + 2}, or {rank + 1} without a batch"
        )
    return layout if len(shape) == rank + 2 else layout.replace("N", "", 1)


def for_all(option: Any) -> Any:
    """Return the one number of a sequence of one, which torch takes for every axis."""
    if _problem.is_list(option) and len(option) == 1 and not _problem.is_list(option[0]):
        return option[0]
    return option


def in_torch_names(error: ConvError | ConvTypeError, names: Mapping[str, str] = _TORCH_NAMES) -> Exception:
    """Return the error with what torch calls the operands in its message."""
    return type(error)(_OPERANDS.sub(lambda found: names.get(found[0], found[0]), str(error)))
