"""A shard through the command line, killed with -9 or stopped with Ctrl-C: every tenant goes on from its own step."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

COMMAND = str(Path(sys.executable).with_name("prefixfleet"))
STEPS = {"alder": 30, "birch": 150, "cedar": 200}
OWN = {
    "alder": {"train": {"max_steps": STEPS["alder"], "validate_every": 5}},
    "birch": {"train": {"max_steps": STEPS["birch"], "validate_every": 7, "method": "embedding"}},
    "cedar": {"train": {"max_steps": STEPS["cedar"], "validate_every": 11, "mlp_hidden": 8, "batch_size": 3}},
}


def tensors(root):
    return {tenant: load_file(root / "out/train" / tenant / "prefix.safetensors") for tenant in STEPS}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_every_tenant_of_a_shard_goes_on_from_its_own_step(make_root, run_in, sent):
    root = make_root(tuple(STEPS), tenants=OWN)
    run_in(root, COMMAND, "stage", "train")
    whole = tensors(root)
    shutil.rmtree(root / "out/train")
    running = subprocess.Popen(
        [COMMAND, "stage", "train"],
        cwd=root,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    told = ""
    for line in running.stderr:
        told += line
        if "alder: trained" in line:
            os.killpg(running.pid, sent)
            break
    told += running.communicate(timeout=120)[1]
    assert running.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 130), told
    assert (root / "out/train/alder/prefix.safetensors").is_file()
    assert not any((root / "out/train" / tenant / "prefix.safetensors").exists() for tenant in ("birch", "cedar"))
    if sent == signal.SIGINT:
        assert "resumes birch at step" in told
        assert "cedar at step" in told
    later = run_in(root, COMMAND, "stage", "train").stderr
    assert "alder: training" not in later
    steps = {found[1]: int(found[2]) for found in re.finditer(r"(\w+): training .*resumes at step (\d+)", later)}
    assert set(steps) == {"birch", "cedar"}, later
    assert all(20 < steps[tenant] < STEPS[tenant] for tenant in steps)
    if sent == signal.SIGKILL:
        assert (steps["birch"] % 7, steps["cedar"] % 11) == (0, 0)
    for tenant, found in tensors(root).items():
        for name, tensor in found.items():
            assert (tensor - whole[tenant][name]).norm() <= 1e-4 * tensor.norm(), (tenant, name)
    assert not list(root.glob("out/train/**/*.tmp"))
