"""The charts: drawn from the tables that the stages write, also from empty ones and for many tenants."""

import pytest
from matplotlib.axes import Axes

from components.stages.reports import charts
from components.stages.stamps import write_csv
from components.stages.workspace import Workspace


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Return a function of loss and BLEU rows to the labels of the curves, after checking the files."""
    labels = []
    plot = Axes.plot
    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr(Axes, "plot", lambda *given, **named: labels.append(named["label"]) or plot(*given, **named))

    def run(losses, scores):
        write_csv(tmp_path / "out/train/loss.csv", ["tenant", "step", "train_loss", "validation_loss"], losses)
        write_csv(tmp_path / "out/evaluate/bleu.csv", ["tenant", "subject", "bleu", "low", "high"], scores)
        files = charts.draw_charts(Workspace(tmp_path))
        assert files == [tmp_path / "out/pictures/loss.png", tmp_path / "out/pictures/bleu.png"]
        assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
        return [label for label in labels if label]

    return run


def make_rows(count):
    tenants = [f"tenant-{number:02}" for number in range(count)]
    losses = [[tenant, step, "" if step == 0 else 1.5, 1.0] for tenant in tenants for step in (0, 50)]
    scores = [[tenant, subject, 50.0, 45.0, 55.0] for tenant in tenants for subject in ("base", "prefix")]
    return losses, scores


@pytest.mark.parametrize(("count", "drawn"), [(0, 0), (1, 1), (30, 24)])
def test_every_tenant_has_a_curve_up_to_24(draw, count, drawn):
    assert draw(*make_rows(count)) == [f"tenant-{number:02}" for number in range(drawn)]
