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
        *pictures, page = files
        assert pictures == [tmp_path / "out/pictures/loss.png", tmp_path / "out/pictures/bleu.png"]
        assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)
        assert page.read_text().count('src="data:image/png;base64,') == 2
        assert "http" not in page.read_text()
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


def test_of_many_tenants_those_with_the_lowest_scores_are_shown_and_the_title_says_so(draw, monkeypatch):
    titles = []
    monkeypatch.setattr(Axes, "set", lambda *_, **named: titles.append(named.get("title", "")))
    losses, scores = make_rows(30)
    for row in scores:
        row[2] = 10.0 + int(row[0][-2:]) if row[1] == "prefix" else 1.0
    for row in losses:
        row[3] = 5.0 + int(row[0][-2:])
    assert sorted(draw(losses, scores)) == [f"tenant-{number:02}" for number in range(6, 30)]
    assert [title.partition("\n")[2] for title in titles] == [
        "24 of 30 tenants, highest validation loss first",
        "24 of 30 tenants, lowest BLEU first",
    ]


def test_all_of_a_few_tenants_are_shown_without_a_note(draw, monkeypatch):
    titles = []
    monkeypatch.setattr(Axes, "set", lambda *_, **named: titles.append(named.get("title", "")))
    draw(*make_rows(3))
    assert not any("first" in title for title in titles)
