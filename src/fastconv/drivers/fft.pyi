import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry
from fastconv.planners.fft import FftPlan

class Driver(Geometry):
    def __init__(self, problem: ConvProblem, plan: FftPlan) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def panel_format(self) -> tuple[object, ...]: ...
    @property
    def samples(self) -> int: ...
    def pack_all(self, w: np.ndarray) -> np.ndarray: ...
    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
    ) -> None: ...
