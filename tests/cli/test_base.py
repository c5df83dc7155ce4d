"""The commands `base check` and `base convert`."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from quantized_bases import save_full
from tiny_models import build_model, make_letters
from typer.testing import CliRunner

from cli.base_report import format_bytes
from cli.main import app
from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import load_base


def test_the_command_in_the_error_converts_the_base(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a base"
    shutil.copytree(tiny_base, folder)
    model = load_base(BaseConfig(path=str(folder))).model
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError) as refused:
        load_base(BaseConfig(path=str(folder)))
    command = re.search(r"prefixfleet (base convert .*)", refused.value.fix)
    assert command is not None
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(command[1]))
    assert result.exit_code == 0, result.output
    converted = load_base(BaseConfig(path=f"{folder}-safetensors")).model.state_dict()
    assert all(torch.equal(converted[name], tensor) for name, tensor in model.state_dict().items())


def check(folder: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["-C", str(folder.parent), "base", "check", str(folder), *options])


@pytest.mark.parametrize("kind", ["gpt2", "gpt_oss", "qwen3_next", "t5"])
def test_lines_fit_80_columns_and_say_what_json_says(kind: str, tmp_path: Path) -> None:
    model = build_model(kind)
    model.save_pretrained(tmp_path / kind)
    make_letters().save_pretrained(tmp_path / kind)
    sizes = ("--prefix-length", "5", "--input-tokens", "30", "--output-tokens", "20", "--tenants", "7")
    result = check(tmp_path / kind, "--no-trial", *sizes)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    text = " ".join(result.stdout.split())
    found = json.loads(check(tmp_path / kind, "--json", "--seconds", "0", *sizes).stdout)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    said = [f"{found['architecture']} ({found['config_class']})", f"{found['parameters']:,}", found["attention"]]
    said += [f"{found['context']} tokens", f"{found['slot']['values']} values", found["support"]["decoding"]]
    said += [layer["reason"] for layer in found["layers"] if layer["reason"]]
    assert [one for one in said if one not in text] == []
    assert len(found["layers"]) == (4 if kind == "t5" else 2)
    memories = [found[f"{part}_memory"] for part in ("training", "serving")]
    assert (memories[0]["load"]["tenants_together"], memories[1]["load"]["input_tokens"]) == (7, 30)
    for memory in memories:
        assert memory["bytes"].pop("total") == sum(memory["bytes"].values())
    assert (found["trial"]["steps"], found["trial"]["generated_tokens"]) == (1, 64)


def test_a_base_is_quantised_as_asked(tmp_path: Path) -> None:
    result = check(save_full(tmp_path / "base"), "--quantize", "bitsandbytes-nf4", "--seconds", "0")
    assert result.exit_code == 0, result.output
    assert "in float32, quantised (bitsandbytes-nf4)" in " ".join(result.stdout.split())
    assert "Trial on random text" in result.stdout


def test_the_workspaces_base_is_tried(make_root: Callable[..., Path], call: Callable[..., Any]) -> None:
    result = call(make_root(), "base", "check", "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert "Trial on random text" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_base_that_cannot_work_is_refused_as_loading_refuses_it(tmp_path: Path) -> None:
    import transformers as hf

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "eos_token_id": 0, "vocab_size": 67}
    hf.MambaForCausalLM(hf.MambaConfig(**sizes)).save_pretrained(tmp_path / "mamba")
    make_letters().save_pretrained(tmp_path / "mamba")
    with pytest.raises(BaseModelError) as refused:
        load_base(BaseConfig(path=str(tmp_path / "mamba")))
    result = check(tmp_path / "mamba")
    assert result.exit_code == 2
    for beat in (refused.value.wanted, refused.value.got, refused.value.fix):
        assert beat in result.stderr
    assert "MambaForCausalLM" in result.stderr
    assert not result.stdout


def test_lengths_beyond_the_context_exit_2(tiny_base: Path) -> None:
    result = check(tiny_base, "--input-tokens", "500")
    assert result.exit_code == 2
    assert "the base's context of 160 tokens" in result.stderr


def test_sizes_are_written_with_three_digits() -> None:
    assert [*map(format_bytes, (0, 999, 1000, 2048, 12_345_678, 5e9))] == [
        "0 B",
        "999 B",
        "0.98 KiB",
        "2.00 KiB",
        "11.8 MiB",
        "4.66 GiB",
    ]
