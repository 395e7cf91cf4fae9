"""The two exceptions fastconv raises for arguments it cannot serve.

Both have several bases because one core stands behind faces of several libraries: code that already says
``except ValueError`` around SciPy or ``except RuntimeError`` around torch keeps working when moved here.
Every message reads ``argument: got <value>, allowed: <what would have been accepted>``.
"""

__all__ = ["ConvError", "ConvTypeError"]


class ConvError(ValueError, RuntimeError):
    """A shape, an option or a value that no convolution can be computed from.

    It is a ``ValueError`` because scipy.signal and NumPy report such arguments so, and a ``RuntimeError``
    because torch does, as does scipy.ndimage for shapes and boundary modes.

    Examples
    --------
    >>> issubclass(ConvError, ValueError) and issubclass(ConvError, RuntimeError)
    True
    """


class ConvTypeError(TypeError, ValueError, NotImplementedError):
    """An argument whose type or dtype is not supported.

    It is a ``TypeError`` because that is what it is, a ``ValueError`` because scipy.signal raises that for
    the dtypes it refuses, and a ``NotImplementedError`` because torch does.

    Examples
    --------
    >>> issubclass(ConvTypeError, TypeError) and issubclass(ConvTypeError, ValueError)
    True
    """
