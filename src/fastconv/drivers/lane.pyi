from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._plan import Schedule
from fastconv._problem import Operands

def distinct(option: Any) -> Any: ...

class Lane:
    def run(
        self,
        x: Any,
        w: Any,
        bias: Any,
        options: tuple[Any, ...],
        threads: int | None,
        out: np.ndarray | None = None,
    ) -> np.ndarray | None: ...
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
        function: Callable[[np.ndarray, Any, int | None], np.ndarray],
    ) -> None: ...
    def clear(self) -> None: ...

class Caller:
    def __call__(self, x: Any, out: np.ndarray | None = None, residual: Any = None) -> np.ndarray: ...
    def remember(
        self,
        schedule: Schedule,
        x_shape: tuple[int, ...],
        w: np.ndarray,
        bias: np.ndarray | None,
        scale: np.ndarray | None,
        threads: int | None,
        panels: Any,
    ) -> None: ...
    def forget(self, panels: Any) -> None: ...
