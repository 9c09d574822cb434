"""Read by every Python that an interpreter starts, before anything else.

The Python interpreter puts its own py4j 0.10.7 first on the path, which Python 3.11 and newer can't import. What
PySpark brings (or the machine) works with it: so the old one is taken off the path.
"""

import sys

sys.path[:] = [entry for entry in sys.path if not entry.endswith("py4j-src-0.10.7.zip")]
