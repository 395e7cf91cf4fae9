from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._plan import Schedule
from fastconv._problem import Operands

class Lane:
    def run(self, x: Any, w: Any, bias: Any, options: tuple[Any, ...], threads: int | None) -> np.ndarray | None: ...
    def remember(
        self, x: Any, w: Any, bias: Any, options: tuple[Any, ...], schedule: Schedule, operands: Operands
    ) -> None: ...
    def remember_transposed(
        self, x: Any, w: Any, bias: Any, options: tuple[Any, ...], schedule: Schedule, operands: Operands
    ) -> None: ...
    def remember_pair(self, x: Any, w: Any, options: tuple[Any, ...], recipe: Any) -> None: ...
    def remember_call(
        self,
        x: Any,
        w: Any,
        options: tuple[Any, ...],
        function: Callable[[np.ndarray, np.ndarray, int | None], np.ndarray],
    ) -> None: ...
    def clear(self) -> None: ...
