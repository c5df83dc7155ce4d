"""The non-public parts of other libraries that the code uses: the one list of them, with a check for each.

A part is a private name, an internal module, a table, the text of a message or the layout of a file: whatever the
library may change without notice. tests/upstream/test_parts.py runs the checks. After an upgrade a failed check names
the part that moved, the module that uses it and the reason, so that the use can be adapted before anything else fails.
"""

from upstream_parts.checks import Part
from upstream_parts.libraries import MODELS, OTHERS
from upstream_parts.services import DVC, MLFLOW, OPTUNA, PREFECT

PARTS = (*MLFLOW, *DVC, *PREFECT, *OPTUNA, *MODELS, *OTHERS)

__all__ = ["PARTS", "Part"]
