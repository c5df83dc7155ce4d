"""Generating with a champion, and the errors where there is none."""

import pytest

from components.errors import ConfigError, DataError, RegistryError
from components.evaluation.gate import Verdict, write_verdict
from components.stages import evaluate, gate, register, train
from components.stages.commands.generate import generate
from components.stages.plan import plan
from components.stages.workspace import Workspace


@pytest.fixture
def workspace(make_root):
    return Workspace(make_root(("alder",)))


def test_without_a_champion_the_error_says_how_to_get_one(workspace):
    with pytest.raises(RegistryError, match="a champion of alder; got none; run `prefixfleet retrain --tenant alder`"):
        generate(workspace, "alder", ["thing: boat"])


def test_after_a_rejection_the_error_says_why_and_what_to_do(workspace):
    folder = workspace.get_output_folder("gate", "alder")
    folder.mkdir(parents=True)
    sentence = "Rejected: 1 of 1 checks failed. BLEU 12.00 is below its floor of 40."
    digests = {"prefix_digest": "a", "champion_digest": None}
    verdict = Verdict(tenant="alder", accepted=False, checks=[], sentence=sentence, **digests)
    write_verdict(folder / gate.VERDICT_FILE, verdict)
    with pytest.raises(RegistryError) as problem:
        generate(workspace, "alder", ["thing: boat"])
    assert problem.value.got == f"none, its last prefix was rejected. {sentence}"
    assert '"If the gate rejects" in docs/tenants.md' in problem.value.fix


def test_a_champion_writes_one_text_a_source_with_its_judged_decoding_and_overrides(workspace, set_params):
    for stage in (train, evaluate, gate):
        stage.run(workspace)
    versions, _ = register.register(workspace, plan(workspace).collect_fingerprints())
    register.roll_out(workspace, versions, [])
    sources = ["thing: boat", "thing: lamp"]
    texts = generate(workspace, "alder", sources)
    assert len(texts) == 2
    assert all(len(text.encode()) <= 8 for text in texts)
    short = generate(workspace, "alder", sources, {"max_new_tokens": 3})
    assert short == [text.encode()[:3].decode(errors="replace") for text in texts]
    with pytest.raises(ConfigError, match="max_new_tokens"):
        generate(workspace, "alder", sources, {"max_new_tokenz": 3})
    set_params(workspace.root, evaluate={"max_new_tokens": 3})
    assert generate(Workspace(workspace.root), "alder", sources) == texts  # as the version was judged

    copies = workspace.root / "var/champions"
    assert not copies.exists()  # the files of the last training are the champion's
    (workspace.root / "out/train/alder/prefix.safetensors").write_bytes(b"damaged")
    assert generate(workspace, "alder", sources) == texts
    assert copies.is_dir()


@pytest.mark.parametrize("sources", [[], [""], ["thing: boat", "  "]])
def test_an_empty_source_is_refused(workspace, sources):
    with pytest.raises(DataError, match="an empty one"):
        generate(workspace, "alder", sources)


def test_an_id_that_is_no_dns_label_is_refused(workspace):
    with pytest.raises(DataError, match="DNS label"):
        generate(workspace, "../alder", ["thing: boat"])
