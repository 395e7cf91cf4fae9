import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry
from fastconv.planners.depthwise import DepthwisePlan

class Driver(Geometry):
    def __init__(self, problem: ConvProblem, plan: DepthwisePlan) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def fuses_epilogue(self) -> bool: ...
    def pack_all(self, w: np.ndarray) -> np.ndarray: ...
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
