"""What those drivers share that run the driver of another problem.

A planner that makes of a problem another one, for a planner that it is given, returns such a driver: one that shows the
driver it is made of the arrays as those of the other problem.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np


class Wrapper:
    """Runs a driver on arrays that are seen, or copied, so that they have the axes it was planned for.

    Attributes
    ----------
    words : str
        What it makes of the problem, behind the name of the algorithm.
    driver : object
    copied : int
        Bytes of copies, which all threads share.
    """

    words: ClassVar[str]

    def __init__(self, driver: Any, copied: int = 0) -> None:
        self.driver, self.copied = driver, copied

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory of one thread, with the copies."""
        return int(self.driver.workspace_bytes) + self.copied

    @property
    def level_name(self) -> str:
        """The level whose kernels the driver calls."""
        name: str = self.driver.level_name
        return name


class PackingWrapper(Wrapper):
    """Also packs weights, and finishes results, if the driver does."""

    @property
    def panel_format(self) -> Any:
        """Equal for drivers of a plan that can use each other's packed weights."""
        return self.words, self.driver.panel_format

    @property
    def fuses_epilogue(self) -> bool:
        """Whether `run` finishes what it stores."""
        return bool(self.driver.fuses_epilogue)

    def pack_all(self, w: np.ndarray) -> np.ndarray:
        """Return all weights as the driver reads them."""
        panels: np.ndarray = self.driver.pack_all(self.weights_of(w))
        return panels

    def weights_of(self, w: np.ndarray) -> np.ndarray:
        """Return the weights of the driver's problem."""
        raise NotImplementedError
