"""Secrets and users' texts that are planted in a whole run: none of them is in a file, a log, MLflow, Prefect or S3."""

import secrets

import httpx
import pytest
from processes import PREFIXFLEET, run_in
from waiting import LIMIT_S

pytestmark = pytest.mark.slow
_NAMES = (
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PREFIXFLEET_OIDC_CLIENT_SECRET",
    "PREFIXFLEET_SERVER_KEY",
    "PREFIXFLEET_TUNING_WEBHOOK_SECRET",
    "PREFIXFLEET_WEBHOOK_SECRET",
)
_NOTIFY = {
    "channels": [{"name": "ops", "url": "env:OPS_URL"}],
    "webhooks": [{"name": "crm", "url": "http://127.0.0.1:9/hook", "secret": "env:CRM_SECRET"}],
}
"""Receivers that do not answer, so that errors are logged."""


@pytest.fixture
def planted(s3, monkeypatch):
    """The secrets in the environment of all commands; that of S3 is used."""
    values = {name: f"planted-{name.lower()}-{secrets.token_hex(8)}" for name in _NAMES}
    values["PREFIXFLEET_TUNING_WEBHOOK_SECRET"] = "whsec_cGxhbnRlZC1zZWNyZXQtb2YtYS13ZWJob29r"
    token = f"planted{secrets.token_hex(8)}"
    values |= {"OPS_URL": f"json://ada:{token}@127.0.0.1:9/{token}", "CRM_SECRET": "whsec_cGxhbnRlZC1zZWNyZXQtb2YtY3Jt"}
    values |= s3.environment
    if s3.secret == "secret":  # the tests' own server takes any
        values["AWS_SECRET_ACCESS_KEY"] = f"planted-s3-{secrets.token_hex(8)}"
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return [*(values[name] for name in (*_NAMES, "AWS_SECRET_ACCESS_KEY", "CRM_SECRET")), token]


def read_files(folder):
    """Yield (name, content) of every file, git's compressed objects excepted."""
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            yield str(path), path.read_bytes()


def read_bucket(client, bucket):
    for entry in client.list_objects_v2(Bucket=bucket)["Contents"]:
        yield entry["Key"], client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()


def test_nothing_that_is_secret_is_written_anywhere(make_checkout, s3, planted, start_server, tmp_path):
    bucket = s3.make_bucket()
    root = make_checkout(("alder",), data={"push": True}, train={"max_steps": 2}, notify=_NOTIFY)
    run_in(root, "dvc", "remote", "add", "-d", "-f", "bucket", f"s3://{bucket}/data")
    printed = run_in(root, "dvc", "push").stdout

    def run(*arguments):
        nonlocal printed
        done = run_in(root, PREFIXFLEET, *arguments, own_prefect=True)
        printed += done.stdout + done.stderr
        return done.stdout

    run("retrain")
    key = run("keys", "create", "alder").strip()
    printed = printed.replace(key, "")  # shown once, as it must be
    for command in (["status"], ["history"], ["causes"], ["data", "check"], ["keys", "list"], ["notify", "list"]):
        run(*command)
    tried = run_in(root, PREFIXFLEET, "notify", "test", check=False, own_prefect=True)
    assert tried.returncode == 2
    printed += tried.stdout + tried.stderr
    server = start_server(root)
    server.wait_ready()
    text, wrong = f"thing: planted text {secrets.token_hex(8)}", f"{key[:-8]}{secrets.token_hex(4)}"
    body = {"model": "alder", "prompt": text, "max_tokens": 4}
    statuses = [
        httpx.post(
            f"{server.url}/v1/completions", json=body, headers={"authorization": f"Bearer {one}"}, timeout=LIMIT_S
        ).status_code
        for one in (key, wrong)
    ]
    assert statuses == [200, 401]
    assert server.stop() == 0

    hidden = [*planted, key.split("-", 2)[2], wrong]
    places = [("what commands printed", printed.encode()), ("the server's log", server.read_log().encode())]
    places += [*read_files(tmp_path), *read_bucket(s3.make_client(), bucket)]
    assert any(b"alder" in content for _, content in places), "what is searched is not empty"
    found = [(one, name) for name, content in places for one in hidden if one.encode() in content]
    # The database keeps what was asked for a while, so that a correction of the answer can become an example.
    found += [(text, name) for name, content in places if text.encode() in content and "prefixfleet.db" not in name]
    assert found == []
