"""Draw charts in out/pictures: loss curves and BLEU by tenant, as PNG. Needs no display and no network."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.stages.evaluate import BLEU_FILE
from components.stages.stamps import read_csv
from components.stages.train import LOSS_FILE
from components.stages.workspace import Workspace
from components.storage.atomic_files import write_atomic

_MAX_TENANTS = 24
_CHARTS = {"Loss": "loss.png", "BLEU": "bleu.png"}
_PAGE = "charts.html"


def draw_charts(workspace: Workspace) -> list[Path]:
    """Draw loss.png and bleu.png, and a page with both that needs no other file; return the files.

    Of more than 24 tenants the charts show those that need attention: the highest validation losses, the lowest BLEU.
    """
    workspace.pictures.mkdir(parents=True, exist_ok=True)
    loss, bleu, page = find_charts(workspace)
    losses = read_csv(workspace.get_output_folder("train") / LOSS_FILE)
    scores = read_csv(workspace.get_output_folder("evaluate") / BLEU_FILE)
    _draw_loss_curves(losses).savefig(loss, dpi=120)
    _draw_bleu_bars(scores).savefig(bleu, dpi=120)
    write_atomic(page, _make_page(workspace.pictures).encode())
    return [loss, bleu, page]


def find_charts(workspace: Workspace) -> list[Path]:
    """Return the paths of the charts and their page, whether or not they exist."""
    return [workspace.pictures / name for name in (*_CHARTS.values(), _PAGE)]


def _make_page(folder: Path) -> str:
    images = ""
    for head, name in _CHARTS.items():
        content = b64encode((folder / name).read_bytes()).decode()
        images += f'<h2>{head}</h2><img alt="{head}" src="data:image/png;base64,{content}">'
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>PrefixFleet</title><body>{images}</body></html>\n'
    )


def _choose_tenants(values: Mapping[str, float], order: str) -> tuple[list[str], str]:
    """Return the first tenants by their value, and a note for the title if that leaves some out; `order` names it."""
    if len(values) <= _MAX_TENANTS:
        return sorted(values), ""
    chosen = sorted(values, key=lambda tenant: (values[tenant], tenant))[:_MAX_TENANTS]
    return chosen, f"\n{_MAX_TENANTS} of {len(values):,} tenants, {order} first"


def _to_number(text: str) -> float:
    return float(text or "nan")


def _make_figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _draw_loss_curves(rows: list[dict[str, str]]) -> Any:
    figure, axes = _make_figure(8, 5)
    last = {row["tenant"]: -_to_number(row["validation_loss"]) for row in rows}
    tenants, note = _choose_tenants(last, "highest validation loss")
    for number, tenant in enumerate(tenants):
        own = [row for row in rows if row["tenant"] == tenant]
        steps = [int(row["step"]) for row in own]
        for column, style, label in (("train_loss", ":", None), ("validation_loss", "-", tenant)):
            axes.plot(steps, [_to_number(row[column]) for row in own], style, color=f"C{number % 10}", label=label)
    axes.set(
        xlabel="step", ylabel="loss per target token", title=f"Loss: validation (solid) and training (dotted){note}"
    )
    if rows:
        axes.legend()
    return figure


def _draw_bleu_bars(rows: list[dict[str, str]]) -> Any:
    reached = {row["tenant"]: _to_number(row["bleu"]) for row in rows if row["subject"] == "prefix"}
    tenants, note = _choose_tenants(reached, "lowest BLEU")
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
    axes.set(xlabel="BLEU with 95 % interval" if rows else "BLEU", xlim=(0, 100), title=f"BLEU{note}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.7 / figure.get_figheight()), ncols=2)
    return figure
