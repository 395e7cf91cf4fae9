import numpy as np

from fastconv._problem import ConvProblem
from fastconv.drivers.tile import Geometry
from fastconv.planners.gradient import GradientPlan

class Driver(Geometry):
    def __init__(self, problem: ConvProblem, plan: GradientPlan) -> None: ...
    @property
    def workspace_bytes(self) -> int: ...
    def run(self, x: np.ndarray, grad: np.ndarray, out: np.ndarray, threads: int | None = None) -> None: ...
