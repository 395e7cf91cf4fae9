"""What threadpoolctl needs to see and limit fastconv's threads, with all libraries that it knows.

threadpoolctl looks at the libraries loaded when `threadpool_limits` or `threadpool_info` is called, but only for those
whose controllers are registered by then. So it is imported here where it is installed, which takes some milliseconds:
registered later, say at the first call that uses threads, fastconv would run that very call without the limit.
"""

from __future__ import annotations

import ctypes
import os

from .drivers import threads

try:
    import threadpoolctl
except ImportError:
    threadpoolctl = None


def register() -> None:
    """Make fastconv known to threadpoolctl, where that is installed and takes others' controllers (3.2)."""
    if not hasattr(threadpoolctl, "register"):
        return

    class FastconvController(threadpoolctl.LibController):  # type: ignore[misc]
        """The number of threads that `fastconv.set_num_threads` sets, which holds for the whole process."""

        user_api = "fastconv"
        internal_api = "fastconv"
        filename_prefixes = (os.path.basename(threads.__file__).lower(),)
        check_symbols = ("fastconv_get_num_threads", "fastconv_set_num_threads")

        def get_num_threads(self) -> int:
            return int(self.dynlib.fastconv_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.fastconv_set_num_threads(ctypes.c_int(min(num_threads, 4096)))

        def get_version(self) -> None:
            """None: to find it takes longer than all of this."""

    threadpoolctl.register(FastconvController)
