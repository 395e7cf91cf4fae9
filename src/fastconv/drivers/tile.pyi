from fastconv._plan import TilePlan
from fastconv._problem import ConvProblem

class Geometry:
    def __init__(self, problem: ConvProblem, plan: TilePlan) -> None: ...
