"""What is left over from the start, given back to the system: a gateway may have 256 MB in all."""

import ctypes
import gc


def trim() -> None:
    """Return memory that was needed to read the code and the configuration (some 3 MB), and is no longer.

    The C library keeps it otherwise (malloc_trim(3), glibc alone).
    """
    gc.collect()
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
