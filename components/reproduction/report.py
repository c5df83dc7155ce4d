"""Writing what a run leaves: <out>/<experiment>.md, .csv, .json and .png, each whole or not at all."""

import io
from pathlib import Path

from components.reproduction.figures import draw
from components.reproduction.gather import gather
from components.reproduction.run import Outcome
from components.reproduction.tables import as_csv, as_json, markdown
from components.storage.atomic_files import write_atomic


def write_report(outcome: Outcome, out: Path) -> list[Path]:
    """Write the tables and the figure of what has been measured; the files, the markdown first.

    Raises:
        WorkspaceError: the disk does not take them.
    """
    name = outcome.request.experiment.name
    lines = gather(name, outcome.data.task, outcome.points, outcome.results)
    picture = io.BytesIO()
    draw(outcome, lines, picture)
    contents = {
        "md": markdown(outcome, lines, f"{name}.png").encode(),
        "csv": as_csv(outcome, lines).encode(),
        "json": as_json(outcome, lines).encode(),
        "png": picture.getvalue(),
    }
    for kind, content in contents.items():
        write_atomic(out / f"{name}.{kind}", content)
    return [out / f"{name}.{kind}" for kind in contents]
