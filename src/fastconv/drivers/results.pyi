from typing import Any

import numpy as np

def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray: ...
