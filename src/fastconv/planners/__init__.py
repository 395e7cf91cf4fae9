"""One planner an algorithm: from a problem to the plan of a driver, or the reason against it."""
