from typing import Any

import numpy as np

from fastconv._plan import Schedule
from fastconv._problem import Operands

class Lane:
    def run(self, x: Any, w: Any, bias: Any, options: tuple[Any, ...], threads: int | None) -> np.ndarray | None: ...
    def remember(
        self,
        x: Any,
        w: Any,
        bias: Any,
        options: tuple[Any, ...],
        schedule: Schedule,
        operands: Operands,
        swapped: bool = False,
        finite: bool = False,
    ) -> None: ...
    def clear(self) -> None: ...
