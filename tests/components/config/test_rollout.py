"""The section `rollout`: its defaults, a tenant's override, and the values that it refuses."""

import pytest
import yaml

from components.config import load_params
from components.errors import ConfigError


def load(tmp_path, rollout, tenants=None):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"base": {"path": "base"}, "rollout": rollout, "tenants": tenants or {}}))
    return load_params(path)


def test_a_tenant_overrides_single_keys(tmp_path):
    own = {"acme": {"rollout": {"policy": "shadow", "margins": {"latency": None}, "shadow": {"hours": 2}}}}
    params = load(tmp_path, {"false_alarm": 0.05}, own)
    assert params.rollout.policy == "immediate"
    rollout = params.for_tenant("acme").rollout
    assert (rollout.policy, rollout.false_alarm, rollout.shadow.hours) == ("shadow", 0.05, 2.0)
    assert (rollout.margins.latency, rollout.margins.errors) == (None, 1.5)


@pytest.mark.parametrize(
    ("rollout", "wanted"),
    [
        ({"steps": [{"share": 0.25}, {"share": 0.25}]}, "growing shares"),
        ({"steps": []}, "at least 1 item"),
        ({"steps": [{"share": 0.0}]}, "greater than 0"),
        ({"margins": {"errors": 0.9}}, "greater than or equal to 1"),
        ({"margins": {"empty": None}, "shadow": {"proven": ["empty"]}}, "a margin for empty"),
        ({"policy": "canaries"}, "canary"),
        ({"steps": [{"share": 0.5, "hour": 1}]}, "hours"),
    ],
)
def test_inconsistent_values_are_refused(tmp_path, rollout, wanted):
    with pytest.raises(ConfigError, match=wanted):
        load(tmp_path, rollout)
