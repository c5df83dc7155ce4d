"""Write the files of a run, each atomically: <out>/<experiment>.md, .csv, .json and .png."""

import io
from pathlib import Path

from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.figures import draw_figure
from components.reproduction.gather import gather_lines
from components.reproduction.tables import format_csv, format_json, format_markdown
from components.storage.atomic_files import write_atomic


def write_experiment_files(outcome: ExperimentOutcome, out: Path) -> list[Path]:
    """Write the tables and the figure of all results so far; return the paths, the markdown first.

    Raises:
        WorkspaceError: the files cannot be written.
    """
    name = outcome.request.experiment.name
    lines = gather_lines(name, outcome.data.task, outcome.points, outcome.results)
    picture = io.BytesIO()
    draw_figure(outcome, lines, picture)
    contents = {
        "md": format_markdown(outcome, lines, f"{name}.png").encode(),
        "csv": format_csv(outcome, lines).encode(),
        "json": format_json(outcome, lines).encode(),
        "png": picture.getvalue(),
    }
    for kind, content in contents.items():
        write_atomic(out / f"{name}.{kind}", content)
    return [out / f"{name}.{kind}" for kind in contents]
