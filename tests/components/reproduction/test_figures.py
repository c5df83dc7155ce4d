import io
from collections.abc import Callable
from typing import Any

import pytest

from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.figures import draw_figure
from components.reproduction.gather import gather_lines

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("experiment", "options"),
    [
        ("table1", {}),
        ("table2", {}),
        ("table3", {}),
        ("lowdata", {}),
        ("length", {}),
        ("init", {}),
        ("init", {"sizes": "50,100"}),
        ("infix", {}),
        ("inputlength", {}),
    ],
)
def test_every_experiment_has_a_figure(
    make_outcome: Callable[..., ExperimentOutcome], experiment: str, options: dict[str, Any]
) -> None:
    outcome, target = make_outcome(experiment, **options), io.BytesIO()
    draw_figure(outcome, gather_lines(experiment, outcome.data.task, outcome.points, outcome.results), target)
    assert target.getvalue().startswith(PNG)
    assert len(target.getvalue()) > 10_000
