"""Draw charts in out/pictures: loss curves and BLEU by tenant, as PNG. Needs no display and no network."""

from pathlib import Path
from typing import Any

from components.stages.evaluate import BLEU_FILE
from components.stages.stamps import read_csv
from components.stages.train import LOSS_FILE
from components.stages.workspace import Workspace

_MAX_TENANTS = 24


def draw_charts(workspace: Workspace) -> list[Path]:
    """Draw loss.png and bleu.png of the first 24 tenants; return the files."""
    workspace.pictures.mkdir(parents=True, exist_ok=True)
    loss, bleu = find_charts(workspace)
    losses = read_csv(workspace.get_output_folder("train") / LOSS_FILE)
    scores = read_csv(workspace.get_output_folder("evaluate") / BLEU_FILE)
    return [
        _save(_draw_loss_curves(losses), loss),
        _save(_draw_bleu_bars(scores), bleu),
    ]


def find_charts(workspace: Workspace) -> list[Path]:
    """Return the paths of the charts, whether or not they exist."""
    return [workspace.pictures / name for name in ("loss.png", "bleu.png")]


def _make_figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _draw_loss_curves(rows: list[dict[str, str]]) -> Any:
    figure, axes = _make_figure(8, 5)
    for number, tenant in enumerate(sorted({row["tenant"] for row in rows})[:_MAX_TENANTS]):
        own = [row for row in rows if row["tenant"] == tenant]
        steps = [int(row["step"]) for row in own]
        for column, style, label in (("train_loss", ":", None), ("validation_loss", "-", tenant)):
            axes.plot(steps, [float(row[column] or "nan") for row in own], style, color=f"C{number % 10}", label=label)
    axes.set(xlabel="step", ylabel="loss per target token", title="Loss: validation (solid) and training (dotted)")
    if rows:
        axes.legend()
    return figure


def _draw_bleu_bars(rows: list[dict[str, str]]) -> Any:
    tenants = sorted({row["tenant"] for row in rows})[:_MAX_TENANTS]
    figure, axes = _make_figure(8, 1.5 + 0.6 * max(1, len(tenants)))
    for subject, shift in (("base", 0.2), ("prefix", -0.2)):
        own = {row["tenant"]: row for row in rows if row["subject"] == subject}
        values = [float(own[tenant]["bleu"]) for tenant in tenants]
        low, high = (  # no interval for small splits: no whisker
            [abs(value - float(own[tenant][end] or value)) for value, tenant in zip(values, tenants, strict=True)]
            for end in ("low", "high")
        )
        heights = [row + shift for row in range(len(tenants))]
        label = "with its prefix" if subject == "prefix" else "base alone"
        axes.barh(heights, values, height=0.38, xerr=[low, high], capsize=3, label=label)
    axes.set_yticks(range(len(tenants)), tenants)
    axes.set(xlabel="BLEU with 95 % interval" if rows else "BLEU", xlim=(0, 100))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path
