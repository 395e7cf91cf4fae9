"""One planner an algorithm: from a problem to the plan of a driver, or the reason against it.

`separable` plans passes along single axes, which are no algorithm of a problem; `tiles` is what the others share.
"""
