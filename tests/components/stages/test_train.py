"""The stage's own files around the shard: token ids that are kept."""

import shutil

from components.model.texts import Texts
from components.stages import train
from components.stages.outcome import refuse_failures
from components.stages.workspace import Workspace


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_tenant_is_encoded_once_whatever_is_trained_on_it(make_root, set_params, monkeypatch):
    root, asked = make_root(("alder", "birch")), []
    encode = Texts.targets
    monkeypatch.setattr(Texts, "targets", lambda self, texts: asked.append(len(texts)) or encode(self, texts))
    refuse_failures(train.run(Workspace(root)))
    assert asked == [12, 4, 12, 4]
    tokens = [f"{tenant}/{split}.safetensors" for tenant in ("alder", "birch") for split in ("train", "validation")]
    assert files_under(root / "var/tokens") == tokens
    first = (root / "out/train/alder/prefix.safetensors").read_bytes()

    set_params(root, train={"learning_rate": 0.2})
    refuse_failures(train.run(Workspace(root)))
    assert asked == [12, 4, 12, 4]
    set_params(root)
    refuse_failures(train.run(Workspace(root)))
    assert (asked, (root / "out/train/alder/prefix.safetensors").read_bytes()) == ([12, 4, 12, 4], first)

    set_params(root, train={"max_source_tokens": 12})
    refuse_failures(train.run(Workspace(root)))
    assert asked == [12, 4, 12, 4] * 2
    shutil.rmtree(root / "data/birch")
    train.run(Workspace(root))
    assert files_under(root / "var/tokens") == tokens[:2]
