from fastconv._problem import ConvProblem
from fastconv.planners.tiles import TilePlan

class Geometry:
    def __init__(self, problem: ConvProblem, plan: TilePlan) -> None: ...
