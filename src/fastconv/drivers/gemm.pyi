import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry
from fastconv.planners.gemm import GemmPlan

class Panels(Geometry):
    @property
    def workspace_bytes(self) -> int: ...
    def pack_all(self, w: np.ndarray) -> np.ndarray: ...

class Driver(Panels):
    def __init__(self, problem: ConvProblem, plan: GemmPlan) -> None: ...
    @property
    def panel_format(self) -> str: ...
    @property
    def fuses_epilogue(self) -> bool: ...
    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        residual: np.ndarray | None = None,
    ) -> None: ...
