"""The section `notify`: a secret in params.yaml is refused, and is not in the error."""

import pytest

from components.config import load_params
from components.errors import ConfigError

SECRET = "whsec_c2VjcmV0LXRoYXQtaXMtcGFzdGVk"
CHANNEL = {"name": "ops", "url": "env:OPS"}
WEBHOOK = {"name": "crm", "url": "https://crm.example/hook", "secret": "file:secrets/crm"}


def load(tmp_path, **notify):
    import yaml

    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"base": {"path": "base"}, "notify": notify}))
    return load_params(path).notify


def test_without_the_section_nobody_is_told(tmp_path):
    assert load(tmp_path).targets == []
    config = load(tmp_path, channels=[CHANNEL], webhooks=[WEBHOOK])
    assert [one.name for one in config.targets] == ["ops", "crm"]
    assert config.channels[0].events == ["night", "stopped", "rollback"]
    assert config.webhooks[0].events is None


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ({"channels": [{**CHANNEL, "url": f"mailto://ada:{SECRET}@mail.example"}]}, "channels.0.url, whose value"),
        ({"channels": [{**CHANNEL, "url": "env: "}]}, "a reference: env:VARIABLE"),
        ({"webhooks": [{**WEBHOOK, "secret": SECRET}]}, "webhooks.0.secret, whose value is not shown"),
        ({"webhooks": [{**WEBHOOK, "url": f"https://ada:{SECRET}@crm.example"}]}, "has no credentials"),
        ({"webhooks": [{**WEBHOOK, "url": "ftp://crm.example"}]}, "begins with http://"),
        ({"webhooks": [{**WEBHOOK, "url": "http://["}]}, "begins with http://"),
        ({"channels": [CHANNEL], "webhooks": [{**WEBHOOK, "name": "ops"}]}, "repeated: ops"),
        ({"channels": [{**CHANNEL, "name": "Ops!"}]}, "Ops!"),
        ({"channels": [{**CHANNEL, "events": ["nights"]}]}, "did you mean 'night'"),
        ({"channels": [{**CHANNEL, "events": []}]}, "events"),
        ({"give_up_hours": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_without_showing_a_secret(tmp_path, notify, words):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, **notify)
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)
