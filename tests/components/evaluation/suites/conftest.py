import os
from pathlib import Path

import pytest

from components.evaluation.suites import java


@pytest.fixture(scope="session")
def with_java():
    if (missing := java.find_problem()) is not None:
        pytest.skip(": ".join(missing))


@pytest.fixture(scope="session")
def published():
    """The folder of the published data sets."""
    folder = os.environ.get("PREFIXFLEET_TEST_DATA")
    if not folder:
        pytest.skip("PREFIXFLEET_TEST_DATA names no folder with e2e-dataset.zip and e2e-tgen-outputs/")
    return Path(folder)
