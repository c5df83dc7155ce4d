"""A shard trained by a command that is killed or stopped with Ctrl-C: every tenant resumes at its own step."""

import re
import shutil
import signal

import pytest
from processes import start_command
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
STEPS = {"alder": 30, "birch": 150, "cedar": 200}
TRAIN = {
    "alder": {"train": {"max_steps": STEPS["alder"], "validate_every": 5}},
    "birch": {"train": {"max_steps": STEPS["birch"], "validate_every": 7, "method": "embedding"}},
    "cedar": {"train": {"max_steps": STEPS["cedar"], "validate_every": 11, "mlp_hidden": 8, "batch_size": 3}},
}


def read_tensors(root):
    return {tenant: load_file(root / "out/train" / tenant / "prefix.safetensors") for tenant in STEPS}


@pytest.fixture(scope="module")
def uninterrupted(make_root_in, call, tmp_path_factory):
    """A workspace whose shard was trained without an interruption, and the tensors of its prefixes."""
    root = make_root_in(tmp_path_factory.mktemp("shard"), tuple(STEPS), tenants=TRAIN)
    assert call(root, "stage", "train").exit_code == 0
    return root, read_tensors(root)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_every_tenant_of_a_shard_resumes_at_its_own_step(uninterrupted, call, sent):
    root, expected = uninterrupted
    shutil.rmtree(root / "out/train")
    with start_command(root, "stage", "train") as running:
        running.read_until("alder: trained")
        running.send_to_all(sent)
        code = running.wait()
    assert code == (-signal.SIGKILL if sent == signal.SIGKILL else 130), running.stderr
    assert (root / "out/train/alder/prefix.safetensors").is_file()
    assert not any((root / "out/train" / tenant / "prefix.safetensors").exists() for tenant in ("birch", "cedar"))
    if sent == signal.SIGINT:
        assert "resumes birch at step" in running.stderr
        assert "cedar at step" in running.stderr
    again = call(root, "stage", "train")
    assert again.exit_code == 0, again.output
    assert "alder: training" not in again.stderr
    steps = {match[1]: int(match[2]) for match in re.finditer(r"(\w+): training .*resumes at step (\d+)", again.stderr)}
    assert set(steps) == {"birch", "cedar"}, again.stderr
    assert all(20 < steps[tenant] < STEPS[tenant] for tenant in steps)
    if sent == signal.SIGKILL:
        assert (steps["birch"] % 7, steps["cedar"] % 11) == (0, 0)
    for tenant, tensors in read_tensors(root).items():
        for name, tensor in tensors.items():
            assert (tensor - expected[tenant][name]).norm() <= 1e-4 * tensor.norm(), (tenant, name)
    assert not list(root.glob("out/train/**/*.tmp"))
