"""A tenant's prefix compared with full fine-tuning of the same base on the same examples, and with the base alone.

    prefixfleet demo && python benchmarks/full_finetuning.py [TENANT]

Run it in a workspace whose `out/` has the tenant's trained and evaluated prefix; without a name it takes the first such
tenant. Full fine-tuning has the same number of steps, batch size and training pairs as the prefix, and the same
decoding of the same split.
"""

import argparse
import json
from pathlib import Path

from components.evaluation.report import Report, build_report, read_report
from components.model.decoding import Decoding, generate_text
from components.stages.splits import read_evaluation_examples, read_splits
from components.stages.workspace import Workspace
from components.training.prepare import fit


def main() -> None:
    """Fine-tune, decode and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tenant", nargs="?")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    chosen = parser.parse_args()
    workspace = Workspace(Path.cwd())
    trained = sorted(path.parent.name for path in workspace.get_output_folder("train").glob("*/training.json"))
    chosen.tenant = chosen.tenant or next(iter(trained), None)
    if chosen.tenant not in trained:
        print(
            f"{chosen.tenant or 'this workspace'} has no trained prefix to compare with; run `prefixfleet demo` first"
        )
        return
    params = workspace.params.for_tenant(chosen.tenant)
    measured = json.loads((workspace.get_output_folder("train", chosen.tenant) / "training.json").read_text())
    splits = read_splits(workspace, chosen.tenant)
    config = params.train.model_copy(
        update={"method": "full", "max_steps": measured["steps"], "learning_rate": chosen.learning_rate}
    )
    result = fit(workspace.base, config, splits["train"], splits["validation"])
    decoding = Decoding.from_config(params.evaluate)
    examples = read_evaluation_examples(workspace, chosen.tenant, params)
    predictions = generate_text(
        workspace.base, result.delta, [example.source for example in examples], decoding, params.evaluate.batch_size
    )
    full = build_report(
        tenant=chosen.tenant,
        subject="base",
        examples=examples,
        predictions=predictions,
        config=params.evaluate,
        data_digest="0" * 64,
        prefix_digest=None,
        min_slice=params.gate.min_slice,
    )
    folder = workspace.get_output_folder("evaluate", chosen.tenant)
    prefix_bytes = (workspace.get_output_folder("train", chosen.tenant) / "prefix.safetensors").stat().st_size
    full_bytes = sum(tensor.nbytes for tensor in result.delta.tensors.values())
    print(
        f"{chosen.tenant}: {len(splits['train'])} training examples, {len(examples)} inputs of "
        f"{params.evaluate.split}, {decoding}"
    )
    print_scores("base alone", read_report(folder / "base" / "report.json"), 0, 0.0, 0)
    print_scores("prefix", read_report(folder / "report.json"), measured["steps"], measured["seconds"], prefix_bytes)
    print_scores("full fine-tuning", full, measured["steps"], result.seconds, full_bytes)
    ratio = read_report(folder / "report.json").find_score("bleu").value / full.find_score("bleu").value
    print(f"prefix / full: BLEU {ratio:.2f}, bytes per tenant 1/{full_bytes / prefix_bytes:.0f}")


def print_scores(name: str, report: Report, steps: int, seconds: float, size: int) -> None:
    """Print a row for every slice of a report."""
    for part in report.slices:
        bleu, rouge = report.find_score("bleu", part), report.find_score("rougeL", part)
        figures = f"BLEU {bleu.value:5.1f}{bleu.format_interval(1)}  ROUGE-L {rouge.value:5.1f}"
        print(f"{name:17} {part:8} n {bleu.n:5}  {figures}  {steps:5} steps {seconds:5.0f} s  {size:9} bytes")


if __name__ == "__main__":
    main()
