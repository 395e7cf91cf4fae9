import numpy as np

from fastconv._problem import ConvProblem
from fastconv.planners.tiles import TilePlan

def aligned_bytes(size: int) -> np.ndarray: ...
def activate(level: str, values: np.ndarray, activation: str, slope: float) -> None: ...

class Geometry:
    def __init__(self, problem: ConvProblem, plan: TilePlan) -> None: ...
