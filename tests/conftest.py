"""Shared by all: a tiny random base, and workspaces around it; nothing that any tool writes leaves tmp_path."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.environment import prepare_environment

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

TENANTS = ("alder", "birch", "cedar")
_COLOURS = ("red", "green", "blue", "black", "white", "grey")
_THINGS = ("boat", "lamp", "door", "book", "cup", "hat")
_BIN = str(Path(sys.executable).parent)

PARAMS: dict[str, Any] = {
    "base": {"path": "base"},
    "train": {"prefix_length": 2, "max_steps": 4, "warmup_steps": 1, "batch_size": 4, "validate_every": 2},
    "evaluate": {"max_new_tokens": 8, "bootstrap_samples": 20, "batch_size": 8, "lowercase": True},
    "gate": {"bootstrap_samples": 20, "min_slice": 2},
    "tenants": {},
}


@pytest.fixture(scope="session", autouse=True)
def _quiet_tools(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No telemetry, no files in the home folder, and Prefect's settings before anything imports Prefect."""
    os.environ.setdefault("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    prepare_environment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of random weights (about 10,000 parameters) and a tokenizer of single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "base"
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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_tenant(data: Path, tenant: str, start: int = 0) -> None:
    for offset, (split, count) in enumerate((("train", 12), ("validation", 4), ("test", 6))):
        write_lines(data / tenant / f"{split}.jsonl", examples_of(tenant, count, start + 20 * offset))


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without anything in it; making one takes seconds, copying it nothing."""
    from components.config import RegistryConfig
    from components.registry.registry import Registry

    folder = tmp_path_factory.mktemp("mlflow")
    assert Registry(RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db"), folder).find_champions() == {}
    return folder / "mlflow.db"


@pytest.fixture
def make_root(
    tmp_path: Path, tiny_base: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """A function to a workspace's top folder with base, params.yaml, data and MLflow, without git and DVC."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def make(tenants: Sequence[str] = TENANTS, /, **sections: dict[str, Any]) -> Path:
        root = tmp_path / "workspace"
        root.mkdir()
        shutil.copytree(tiny_base, root / "base")
        (root / "var" / "mlflow").mkdir(parents=True)
        shutil.copy(empty_mlflow, root / "var" / "mlflow")
        set_params(root, **sections)
        for tenant in tenants:
            write_tenant(root / "data", tenant)
        (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{"md5": f"{'a' * 32}.dir", "path": "data"}]}))
        return root

    return make


def set_params(root: Path, /, **sections: dict[str, Any]) -> None:
    """Write params.yaml: the tiny values, with these keys changed in these sections."""
    values = {name: {**PARAMS.get(name, {}), **sections.get(name, {})} for name in {*PARAMS, *sections}}
    (root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


@pytest.fixture(name="set_params")
def _set_params() -> Callable[..., None]:
    return set_params


@pytest.fixture(name="write_tenant")
def _write_tenant() -> Callable[..., None]:
    return write_tenant


@pytest.fixture(name="write_lines")
def _write_lines() -> Callable[..., None]:
    return write_lines


@pytest.fixture(name="examples_of")
def _examples_of() -> Callable[..., list[dict[str, Any]]]:
    return examples_of


def run_in(root: Path, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run a command in a workspace with the tools of this environment first on the path."""
    environment = {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    environment |= {
        f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(name="run_in")
def _run_in() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    return run_in


@pytest.fixture
def make_checkout(make_root: Callable[..., Path]) -> Callable[..., Path]:
    """A function to a whole workspace: git, DVC with a local remote, the project's dvc.yaml, data under version."""
    project = Path(__file__).resolve().parents[1]

    def make(tenants: Sequence[str] = TENANTS, /, **sections: dict[str, Any]) -> Path:
        root = make_root(tenants, **sections)
        (root / "data.dvc").unlink()
        for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
            shutil.copy(project / name, root / name)
        (root / "overrides").mkdir()
        (root / "overrides" / ".gitkeep").touch()
        run_in(root, "git", "init", "-q")
        run_in(root, "dvc", "init", "-q")
        shutil.copytree(project / ".dvc" / "plots", root / ".dvc" / "plots")
        run_in(root, "dvc", "remote", "add", "-q", "-d", "local", str(root.parent / "remote"))
        if tenants:
            run_in(root, "dvc", "add", "-q", "data")
        run_in(root, "git", "add", "-A")
        run_in(root, "git", "commit", "-q", "-m", "start")
        return root

    return make


def enliven(root: Path) -> None:
    """Let prefixes show in what a workspace's tiny base writes, where random weights almost ignore them."""
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(root / "base")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(12)
    model.save_pretrained(root / "base")


@pytest.fixture(name="enliven")
def _enliven() -> Callable[[Path], None]:
    return enliven


@pytest.fixture
def written_alone(tmp_path: Path) -> Callable[..., dict[tuple[str, str, str], str]]:
    """A function to (tenant, version, source) -> what each registered version writes with nobody beside it."""

    def write(
        root: Path, tenants: Sequence[str], sources: Sequence[str], asked: Mapping[str, Any]
    ) -> dict[tuple[str, str, str], str]:
        from components.model.decoding import Decoding, generate_text
        from components.registry.artifact import load_artifact
        from components.stages.workspace import Workspace

        place, texts = Workspace(root), {}
        decoding = Decoding(max_new_tokens=asked["max_tokens"], temperature=asked["temperature"], seed=asked["seed"])
        for version in (one for tenant in tenants for one in place.registry.find_versions(tenant)):
            folder = place.registry.fetch(version, tmp_path / "fetched" / version.sha256)
            delta, _ = load_artifact(folder, place.base)
            for source in sources:
                text = generate_text(place.base, delta, [source], decoding, 1)[0]
                texts[version.tenant, version.version, source] = text
        assert len(set(texts.values())) == len(texts), "every version must write something of its own"
        return texts

    return write


class ServerProcess:
    """`prefixfleet serve` in a process of its own, its log in a file beside the workspace."""

    def __init__(self, root: Path, options: Sequence[str], environment: Mapping[str, str], before: Any) -> None:
        self.log = root.parent / "serve.log"
        self.started_s = time.monotonic()
        with self.log.open("a") as log:
            self._said_before = log.tell()
            self.process = subprocess.Popen(
                [f"{_BIN}/prefixfleet", "-C", str(root), "serve", "--port", "0", *options],
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                preexec_fn=before,
            )
        self.url = self.line("serving on ").split("serving on ")[1].split(",")[0]

    def said(self) -> str:
        """What it has written since it was started."""
        return self.log.read_bytes()[self._said_before :].decode()

    def line(self, words: str, seconds: float = 90) -> str:
        """The first line of its log with these words, waited for."""
        while time.monotonic() < self.started_s + seconds:
            found = [line for line in self.said().splitlines() if words in line]
            if found:
                return found[0]
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise TimeoutError(self.said())

    def wait_ready(self) -> float:
        """Seconds from its start until it was ready."""
        import httpx

        self.line("is loaded")
        while httpx.get(f"{self.url}/readyz").status_code != 200:
            assert time.monotonic() < self.started_s + 90, self.said()
            time.sleep(0.05)
        return time.monotonic() - self.started_s

    def stop(self) -> int:
        """End it as a supervisor does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """A function of a workspace and options of `prefixfleet serve` to the process; killed after the test."""
    started = []

    def start(
        root: Path, *options: str, environment: Mapping[str, str] | None = None, before: Any = None
    ) -> ServerProcess:
        started.append(ServerProcess(root, options, environment or {}, before))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
