import numpy as np

from fastconv._problem import ConvProblem
from fastconv.planners.tiles import TilePlan

def aligned_bytes(size: int) -> np.ndarray: ...

class Geometry:
    def __init__(self, problem: ConvProblem, plan: TilePlan) -> None: ...
