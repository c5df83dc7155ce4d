"""Workspaces for tests: made-up examples, tiny parameters, a copy of a tiny base and of an empty MLflow database."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from processes import run_in

PROJECT = Path(__file__).resolve().parents[2]
TENANTS = ("alder", "birch", "cedar")
PARAMS: dict[str, Any] = {
    "base": {"path": "base"},
    "train": {"prefix_length": 2, "max_steps": 4, "warmup_steps": 1, "batch_size": 4, "validate_every": 2},
    "evaluate": {"max_new_tokens": 8, "bootstrap_samples": 20, "batch_size": 8, "lowercase": True},
    "gate": {"bootstrap_samples": 20, "min_slice": 2},
    "tenants": {},
}
_COLOURS = ("red", "green", "blue", "black", "white", "grey")
_THINGS = ("boat", "lamp", "door", "book", "cup", "hat")
_CHECKED_IN = ("dvc.yaml", ".gitignore", ".dvcignore")


def examples_of(tenant: str, count: int, start: int = 0) -> list[dict[str, Any]]:
    """Lines of a tenant's data; the second half of each split is the slice `unseen`."""
    made = []
    for number in range(start, start + count):
        thing, colour = _THINGS[number % 6], _COLOURS[number // 6 % 6]
        made.append(
            {
                "source": f"thing: {thing} | colour: {colour} | number: {number}",
                "references": [f"{tenant} has {colour} {thing} {number}."],
                "slice": "seen" if number - start < count // 2 else "unseen",
            }
        )
    return made


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write a JSONL file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_tenant(data: Path, tenant: str, start: int = 0) -> None:
    """Write a tenant's three splits; another `start` gives other examples."""
    for offset, (split, count) in enumerate((("train", 12), ("validation", 4), ("test", 6))):
        write_lines(data / tenant / f"{split}.jsonl", examples_of(tenant, count, start + 20 * offset))


def set_params(root: Path, /, **sections: dict[str, Any]) -> None:
    """Write params.yaml: the tiny values, with these keys changed in these sections."""
    values = {name: {**PARAMS.get(name, {}), **sections.get(name, {})} for name in {*PARAMS, *sections}}
    (root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def write_tiny_base(folder: Path) -> Path:
    """Write a GPT-2 of random weights (about 10,000 parameters) and a tokenizer of single bytes; return its folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(letters), n_positions=160, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_workspace(
    root: Path, base: Path, mlflow: Path, tenants: Sequence[str], sections: dict[str, dict[str, Any]]
) -> Path:
    """Make a workspace with a copy of a base and of MLflow's database, params.yaml and data; without git and DVC."""
    root.mkdir(parents=True)
    shutil.copytree(base, root / "base")
    (root / "var" / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow, root / "var" / "mlflow")
    set_params(root, **sections)
    for tenant in tenants:
        write_tenant(root / "data", tenant)
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "path": "data"}]}))
    return root


def write_checkout_template(root: Path) -> Path:
    """Make a git and DVC repository with a local remote beside it and the project's dvc.yaml, without data."""
    root.mkdir(parents=True)
    for name in _CHECKED_IN:
        shutil.copy(PROJECT / name, root / name)
    (root / "overrides").mkdir()
    (root / "overrides" / ".gitkeep").touch()
    run_in(root, "git", "init", "-q")
    run_in(root, "dvc", "init", "-q")
    shutil.copytree(PROJECT / ".dvc" / "plots", root / ".dvc" / "plots")
    run_in(root, "dvc", "remote", "add", "-q", "-d", "local", str(root.parent / "remote"))
    return root


def write_filled_template(root: Path, empty: Path, tenants: Sequence[str]) -> Path:
    """Make a copy, in the same folder, of a template without data, and put these tenants' data under version."""
    shutil.copytree(empty, root)
    for tenant in tenants:
        write_tenant(root / "data", tenant)
    run_in(root, "dvc", "add", "-q", "data")
    return root


def add_repository(root: Path, template: Path) -> Path:
    """Turn a workspace with the template's data into a checkout, and commit its files."""
    for name in (*_CHECKED_IN, "data.dvc"):
        (root / name).unlink(missing_ok=True)
        if (template / name).exists():
            shutil.copy(template / name, root / name)
    for name in (".git", ".dvc", "overrides"):
        shutil.copytree(template / name, root / name, ignore=shutil.ignore_patterns("tmp"))
    config = root / ".dvc" / "config"  # each checkout has a remote of its own
    config.write_text(config.read_text().replace(str(template.parent / "remote"), str(root.parent / "remote")))
    run_in(root, "git", "add", "-A")
    run_in(root, "git", "commit", "-q", "-m", "start")
    return root


def amplify_prefixes(root: Path) -> None:
    """Let prefixes show in what a workspace's tiny base writes, where random weights almost ignore them."""
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(root / "base")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(12)
    model.save_pretrained(root / "base")
