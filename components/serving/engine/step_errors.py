"""Convert any error of a step for the client of its row. Knows errors; does not know models or rows."""

import logging

from components.errors import BaseModelError, PrefixFleetError
from components.model.base.out_of_memory import is_out_of_memory
from components.serving.interface import BusyError

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = 1.0


def to_step_error(problem: Exception) -> PrefixFleetError:
    """Convert any error of a step for its client; out of memory becomes BusyError."""
    if isinstance(problem, PrefixFleetError):
        return problem
    if is_out_of_memory(problem):
        fix = "retry later, or let the operator lower serve.rows"
        return BusyError("memory for one more row", "too little memory", fix, retry_after=_RETRY_AFTER_S)
    _log.warning("a decoding step failed", exc_info=problem)
    message = " ".join(str(problem).split())[:400]
    fix = "retry; if it fails again, see the server's log"
    return BaseModelError("a decoding step without an error", f"{type(problem).__name__}: {message}", fix)


def make_nonfinite_error() -> BaseModelError:
    """Return the error of a row whose logits are not finite."""
    fix = "train the tenant again, or serve the base in float32"
    return BaseModelError("finite logits", "infinity or NaN with this tenant's artifact", fix)
