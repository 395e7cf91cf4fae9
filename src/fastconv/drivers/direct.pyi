import numpy as np

from fastconv._plan import DirectPlan
from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry

class Driver(Geometry):
    def __init__(self, problem: ConvProblem, plan: DirectPlan) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def level_name(self) -> str: ...
    def run(
        self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, threads: int | None = None
    ) -> None: ...
