"""The parts of `benchmarks/day.py`: a day of a fleet, compressed into minutes.

nginx and Prometheus are started by the helpers of the tests.
"""

import sys

from harness.checkouts import PROJECT

if str(PROJECT / "tests" / "helpers") not in sys.path:
    sys.path.append(str(PROJECT / "tests" / "helpers"))
