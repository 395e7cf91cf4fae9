import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry
from fastconv.planners.pixels import PixelsPlan

class Driver(Geometry):
    def __init__(self, problem: ConvProblem, plan: PixelsPlan) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def fuses_epilogue(self) -> bool: ...
    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        scale: np.ndarray | None = None,
        residual: np.ndarray | None = None,
    ) -> None: ...
