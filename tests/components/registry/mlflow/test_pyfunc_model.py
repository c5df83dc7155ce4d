import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.load import Base, load_base
from components.model.decoding import Decoding, generate_text
from components.registry.manifest import Manifest
from components.registry.mlflow.packaging import write_model
from components.registry.registry import Registry, RunLog

Make = Callable[..., Any]
SaveFor = Callable[..., Manifest]

DECODING = {"max_new_tokens": 12}
REPOSITORY = Path(__file__).parents[4]
TEXTS = ["name : Alimentum , area : city centre", "name : Aromi", "é ü <|endoftext|> \U0001f600"]


@pytest.mark.slow
def test_the_champion_generates_in_a_new_process_in_another_folder(
    registry: Registry, tmp_path: Path, save_for: SaveFor, make_prefix: Make, base: Base, base_folder: Path
) -> None:
    save_for(tmp_path / "acme", base)
    run = RunLog()
    version = registry.register("acme", tmp_path / "acme", str(base_folder), {}, run, decoding={"max_new_tokens": 12})
    registry.set_alias("acme", "champion", version.version)
    code = (
        "import json, sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); "
        "model = mlflow.pyfunc.load_model('models:/prefix-acme@champion'); texts = json.loads(sys.argv[2]); "
        "print(json.dumps([model.predict(texts), model.predict(texts, params={'num_beams': 3})]))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, registry.uri, json.dumps(TEXTS)],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    greedy, beam = json.loads(done.stdout.splitlines()[-1])
    prefix = make_prefix()
    assert greedy == generate_text(base, prefix, TEXTS, Decoding(max_new_tokens=12), 8)
    assert beam == generate_text(base, prefix, TEXTS, Decoding(num_beams=3, max_new_tokens=12), 8)
    assert greedy != generate_text(base, None, TEXTS, Decoding(max_new_tokens=12), 8)
    assert "type hints" not in done.stderr


@pytest.mark.parametrize(
    "texts", [TEXTS, pd.DataFrame({"source": TEXTS}), pd.Series(TEXTS), pd.Series(TEXTS).to_numpy()], ids=type
)
def test_lists_frames_series_and_arrays_of_texts_are_accepted(
    model_folder: Path, base: Base, make_prefix: Make, texts: Any
) -> None:
    model = mlflow.pyfunc.load_model(str(model_folder))
    assert model.predict(texts) == generate_text(base, make_prefix(), TEXTS, Decoding(max_new_tokens=12), 8)
    assert model.predict(TEXTS[0]) == model.predict(TEXTS[:1])


def test_the_environment_overrides_the_base_s_folder(
    tmp_path: Path, save_for: SaveFor, base: Base, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_for(tmp_path / "artifact", base)
    gone = str(tmp_path / "gone")
    write_model(tmp_path / "model", tmp_path / "artifact", {"path": gone, "revision": None, "dtype": "float32"}, {})
    with pytest.raises(BaseModelError, match=r"gone.*PREFIXFLEET_BASE"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    monkeypatch.setenv("PREFIXFLEET_BASE", str(base_folder))
    assert len(mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(TEXTS)) == len(TEXTS)


def test_another_base_is_refused(tmp_path: Path, save_for: SaveFor, base: Base, base_folder: Path) -> None:
    save_for(tmp_path / "artifact", base, base_digest="0" * 64)
    config = {"path": str(base_folder), "revision": None, "dtype": "float32"}
    write_model(tmp_path / "model", tmp_path / "artifact", config, {})
    with pytest.raises(BaseModelError, match=base.digest) as refused:
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert "0" * 64 in str(refused.value)


def test_a_version_of_a_quantised_base_quantises_it_again(
    tmp_path: Path, save_for: SaveFor, make_prefix: Make, base_folder: Path
) -> None:
    config = {"path": str(base_folder), "revision": None, "dtype": "float32"}
    quantized = load_base(BaseConfig(**config, quantize="bitsandbytes-int8"), device="cpu")
    save_for(tmp_path / "artifact", quantized)
    write_model(tmp_path / "model", tmp_path / "artifact", {**config, "quantize": "bitsandbytes-int8"}, DECODING)
    answers = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(TEXTS)
    assert answers == generate_text(quantized, make_prefix(), TEXTS, Decoding(max_new_tokens=12), 8)
    write_model(tmp_path / "full", tmp_path / "artifact", config, DECODING)
    with pytest.raises(BaseModelError, match=quantized.digest):
        mlflow.pyfunc.load_model(str(tmp_path / "full"))
