"""Python imports this file in every process that has its folder on PYTHONPATH."""

import os

if "TEST_WORKER" in os.environ:
    import training_faults  # noqa: F401
