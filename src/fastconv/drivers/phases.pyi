import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.gemm import Panels
from fastconv.planners.phases import PhasesPlan

class Driver(Panels):
    def __init__(self, problem: ConvProblem, plan: PhasesPlan) -> None: ...
    def run(
        self,
        x: np.ndarray,
        w: np.ndarray,
        bias: np.ndarray | None,
        out: np.ndarray,
        threads: int | None = None,
        panels: np.ndarray | None = None,
    ) -> None: ...
