"""Bases saved as pickles are converted to safetensors; what is no model is refused, and no code of a pickle runs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.config import BaseConfig
from components.errors import BaseModelError, WorkspaceError
from components.model.base.conversion import convert_to_safetensors
from components.model.base.digests import compute_tokenizer_digest, read_stored_dtypes
from components.model.base.load import Base, load_base

Save = Callable[[Any], Path]


def load(folder: Path) -> Base:
    return load_base(BaseConfig(path=str(folder)), device="cpu")


def convert(folder: Path) -> Path:
    target = folder.with_name("converted")
    convert_to_safetensors(BaseConfig(path=str(folder)), target)
    return target


def replace_by_pickle(folder: Path, content: Any, files: int = 1) -> None:
    """Save `content` as torch did before safetensors, in one file or in several with an index."""
    (folder / "model.safetensors").unlink()
    if files == 1:
        torch.save(content, folder / "pytorch_model.bin")
        return
    names = {name: f"pytorch_model-{1 + number % files:05}.bin" for number, name in enumerate(content)}
    for file in set(names.values()):
        torch.save({name: content[name] for name in names if names[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5", "gpt_oss"])
def test_a_converted_base_has_the_same_weights(
    kind: str, files: int, build_model: Callable[..., Any], save: Save
) -> None:
    model = build_model(kind)
    folder = save(model)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    replace_by_pickle(folder, model.state_dict(), files)
    with pytest.raises(BaseModelError, match=r"pytorch_model.*\.bin in .*, a pickle.*prefixfleet base convert"):
        load(folder)
    target = convert(folder)
    assert not [file for file in target.iterdir() if ".bin" in file.name]
    base, own = load(target), model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in base.model.state_dict().items())
    assert base.tokenizer.chat_template == "{{ messages[0].content }}"
    assert base.tokenizer_files_digest == compute_tokenizer_digest(folder)


def test_weights_keep_their_dtype(build_model: Callable[..., Any], save: Save) -> None:
    model = build_model("llama").bfloat16()
    folder = save(model)
    replace_by_pickle(folder, model.state_dict())
    assert set(read_stored_dtypes(convert(folder)).values()) == {"BF16"}


class RunsCode:
    """A pickle of this runs a command when it is opened."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


def test_code_in_a_pickle_does_not_run(build_model: Callable[..., Any], save: Save, tmp_path: Path) -> None:
    folder = save(build_model("gpt2"))
    replace_by_pickle(folder, {"a": RunsCode(tmp_path / "witness")})
    with pytest.raises(BaseModelError, match="a pickle with other objects; get the model from its authors"):
        convert(folder)
    assert not (tmp_path / "witness").exists()
    assert not [path for path in tmp_path.iterdir() if path != folder]


def test_what_is_not_to_convert_is_refused(build_model: Callable[..., Any], save: Save, tmp_path: Path) -> None:
    model = build_model("gpt2")
    folder = save(model)
    with pytest.raises(BaseModelError, match="got safetensors in"):
        convert(folder)
    replace_by_pickle(folder, {name: one for name, one in model.state_dict().items() if ".1." not in name})
    with pytest.raises(BaseModelError, match=r"missing \d+ keys"):
        convert(folder)
    assert not (tmp_path / "converted").exists()
    (tmp_path / "converted").mkdir()
    with pytest.raises(WorkspaceError, match="which exists"):
        convert(folder)
    shutil.rmtree(tmp_path / "converted")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BaseModelError, match=r"weights in pytorch_model\.bin; got none"):
        convert(folder)
