"""infra/terraform, evaluated: policies as S3 applies them to what the parts do, and settings as the code reads them."""

import json
import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from botocore.exceptions import ClientError
from s3_server import S3Server, run_s3_server
from sqlalchemy import make_url
from terraform import TERRAFORM, evaluate

from components.config import RegistryConfig
from components.config.backup import BackupConfig
from components.config.serve import ServeConfig
from components.config.workers import WorkersConfig
from components.errors import WorkersError
from components.rollout.store.database import find_database_url
from components.serving.remote.engine_store import EngineStore
from components.storage.object_store import ObjectStore

pytestmark = pytest.mark.skipif(TERRAFORM is None, reason="terraform is not on PATH")

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "infra" / "terraform" / "modules"
PURPOSES = ("dvc", "mlflow", "exchange", "backups", "engines", "bases")
RIGHTS = {
    "flows": {"dvc": "rwd", "exchange": "rwd", "backups": "rwd", "mlflow": "r"},
    "shard": {"dvc": "r", "exchange": "r"},
    "gateway": {"engines": "rwd"},
    "engine": {"engines": "r"},
    "mlflow": {"mlflow": "rwd"},
    "base-model": {"bases": "r"},
    "ci": {"dvc": "r"},
}
"""Part -> purpose of a bucket -> what it may do with any key: read, write, delete. A shard may also write some keys."""
Policies = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    variables = {
        "bucket_arns": {purpose: f"arn:aws:s3:::fleet-{purpose}" for purpose in PURPOSES},
        "key_arn": "arn:aws:kms:eu-central-1:123456789012:key/1",
        "region": "eu-central-1",
        "account_id": "123456789012",
        "cluster_name": "fleet",
    }
    return evaluate(MODULES / "policies", variables, tmp_path_factory.mktemp("policies"))


@pytest.fixture(scope="module")
def policies(evaluated: dict[str, Any]) -> Policies:
    return {part: json.loads(text) for part, text in evaluated["documents"].items()}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    variables = {
        "buckets": {purpose: f"fleet-{purpose}" for purpose in PURPOSES},
        "region": "eu-central-1",
        "database_address": "fleet.example.com",
        "workers_keep_days": 3,
        "vllm_engines": True,
        "base_folder": "llama",
    }
    return evaluate(MODULES / "settings", variables, tmp_path_factory.mktemp("settings"))


def test_no_policy_has_a_wildcard_for_all_actions_or_resources(policies: Policies):
    assert set(policies) == set(RIGHTS)
    for statement in (each for policy in policies.values() for each in policy["Statement"]):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in statement["Action"])
        assert "*" not in statement["Resource"]
        assert "Principal" not in statement


def test_the_autoscaler_changes_only_its_own_clusters_groups(evaluated: dict[str, Any]):
    look, groups, scale = json.loads(evaluated["autoscaler"])["Statement"]
    assert look["Resource"] == ["*"]
    assert all(re.fullmatch(r"(autoscaling|ec2):(Describe|Get)\w+", action) for action in look["Action"])
    assert groups["Resource"] == ["arn:aws:eks:eu-central-1:123456789012:nodegroup/fleet/*/*"]
    assert scale["Condition"]["StringEquals"] == {"aws:ResourceTag/k8s.io/cluster-autoscaler/fleet": "owned"}


@pytest.mark.parametrize("part", RIGHTS)
def test_the_key_is_used_only_through_s3_and_not_to_encrypt_by_who_only_reads(policies: Policies, part: str):
    (statement,) = (each for each in policies[part]["Statement"] if each["Sid"] == "UseKey")
    writes = part == "shard" or any("w" in rights for rights in RIGHTS[part].values())
    assert statement["Action"] == ["kms:Decrypt", *(["kms:GenerateDataKey"] if writes else [])]
    assert statement["Condition"]["StringEquals"] == {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with run_s3_server() as server:
        if "PREFIXFLEET_TEST_S3" in os.environ:
            pytest.skip("policies are tried on moto")
        yield server


@pytest.fixture(scope="module")
def keys(server: S3Server, policies: Policies) -> dict[str, dict[str, str]]:
    """Buckets with an object each, a user for each part, and from then on a server that applies policies."""
    iam = boto3.client("iam", endpoint_url=server.endpoint, region_name="us-east-1", **_read_keys(server))
    for purpose in PURPOSES:
        server.make_client().create_bucket(Bucket=f"fleet-{purpose}")
        server.make_client().put_object(Bucket=f"fleet-{purpose}", Key="folder/there", Body=b"content")
    made = {}
    for part, policy in policies.items():
        iam.create_user(UserName=part)
        iam.put_user_policy(UserName=part, PolicyName="policy", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=part)["AccessKey"]
        made[part] = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    requests.post(f"{server.endpoint}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    return made


def _read_keys(server: S3Server) -> dict[str, str]:
    return {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret}


@pytest.fixture
def act_as(server: S3Server, keys: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Give the process the keys of a part; return a client with them."""

    def act(part: str) -> Any:
        environment = server.environment | {name.upper(): value for name, value in keys[part].items()}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys[part])

    return act


def is_allowed(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


@pytest.mark.parametrize("part", RIGHTS)
def test_a_part_reaches_its_own_buckets_and_no_other(act_as: Callable[[str], Any], part: str):
    client = act_as(part)
    found = {}
    for purpose in PURPOSES:
        bucket = {"Bucket": f"fleet-{purpose}"}
        allowed = {
            "r": is_allowed(client.get_object, **bucket, Key="folder/there"),
            "w": is_allowed(client.put_object, **bucket, Key=f"folder/{part}", Body=b""),
            "d": is_allowed(client.delete_object, **bucket, Key=f"folder/{part}"),
        }
        assert is_allowed(client.list_objects_v2, **bucket) == allowed["r"]
        found[purpose] = "".join(right for right, is_it in allowed.items() if is_it)
    assert {purpose: rights for purpose, rights in found.items() if rights} == RIGHTS[part]


def test_a_worker_uses_the_exchange_but_replaces_no_base(act_as: Callable[[str], Any]):
    act_as("shard")
    exchange = ObjectStore("s3://fleet-exchange", patience_s=1)
    exchange.check_writable()
    for key in ("tenants/acme/key/state/listing.json", "shards/1/outcomes.json"):
        exchange.write(key, b"made")
        assert exchange.read(key) == b"made"
        exchange.delete(key)
    assert exchange.read("bases/none/files/listing.json") is None
    with pytest.raises(WorkersError):
        exchange.write("bases/1/files/listing.json", b"replaced")
    with pytest.raises(WorkersError):
        ObjectStore("s3://fleet-dvc", patience_s=1).write("files/md5/00/1", b"replaced")


def test_a_gateway_publishes_artifacts_for_engines_and_removes_them(act_as: Callable[[str], Any], tmp_path: Path):
    client = act_as("gateway")
    (tmp_path / "abc").mkdir()
    for name in ("prefix.safetensors", "manifest.json"):
        (tmp_path / "abc" / name).write_bytes(b"content")
    store = EngineStore(tmp_path, "s3://fleet-engines")
    store.publish("abc")
    assert is_allowed(client.head_object, Bucket="fleet-engines", Key="abc/manifest.json")
    store.remove(["abc"])
    # The first is deleted by itself. moto wants a right on the whole bucket to delete several at once; S3 does not.
    left = client.list_objects_v2(Bucket="fleet-engines", Prefix="abc/")["Contents"]
    assert [each["Key"] for each in left] == ["abc/prefix.safetensors"]


def test_params_are_sections_that_the_code_reads(settings: dict[str, Any]):
    params = yaml.safe_load(settings["params"])
    workers = WorkersConfig.model_validate(params.pop("workers"))
    serve = ServeConfig.model_validate(params.pop("serve"))
    backup = BackupConfig.model_validate(params.pop("backup"))
    assert params == {}
    assert backup.target == settings["backups"]
    assert (workers.exchange, workers.keep_days) == ("s3://fleet-exchange", 3)
    assert (serve.engine, serve.engine_store) == ("vllm", "s3://fleet-engines")
    for url in (workers.exchange, serve.engine_store, settings["dvc_remote"], settings["backups"]):
        assert ObjectStore(url).url == url


def test_without_engines_there_is_nothing_of_them(tmp_path: Path):
    variables = {
        "buckets": {purpose: f"fleet-{purpose}" for purpose in PURPOSES},
        "region": "eu-central-1",
        "database_address": "fleet.example.com",
        "workers_keep_days": 3,
        "base_folder": "base",
    }
    found = evaluate(MODULES / "settings", variables, tmp_path)
    assert set(yaml.safe_load(found["params"])) == {"workers", "backup"}
    assert set(found["environment"]) == {"AWS_DEFAULT_REGION", "MLFLOW_ARTIFACTS_DESTINATION", "BASE_SOURCE"}


def test_addresses_of_databases_are_those_that_the_script_makes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    script = (ROOT / "infra" / "postgres" / "databases.sh").read_text(encoding="utf-8")
    owners = dict(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+)", script))
    passwords = {f"<{name}>" for name in re.findall(r"\\getenv \w+ (\w+)", script)}
    urls = {name: make_url(url) for name, url in settings["secrets"].items()}
    assert {url.database: url.username for url in urls.values()} == owners
    assert {url.password for url in urls.values()} == passwords
    assert all(url.host == "fleet.example.com" and url.port == 5432 for url in urls.values())
    assert all({"require"} == set(url.query.values()) for url in urls.values())
    url = settings["secrets"]["PREFIXFLEET_DATABASE"]
    monkeypatch.setenv("PREFIXFLEET_DATABASE", url)
    assert find_database_url(RegistryConfig(), tmp_path) == url


def test_names_of_variables_are_used_in_the_repository(settings: dict[str, Any]):
    files = [
        ROOT / "infra" / "compose.yaml",
        *(ROOT / "infra" / "kubernetes").rglob("*"),
        *(ROOT / "infra" / "systemd").iterdir(),
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    names = {*settings["environment"], *settings["secrets"]}
    # Of manifests of a whole fleet and of vLLM's engines.
    named_there = {"BASE_SOURCE", "ENGINE_STORE"} if "BASE_SOURCE" not in text else set()
    assert {name for name in names if name not in text} == named_there


def test_no_output_holds_a_password(settings: dict[str, Any]):
    assert all(fnmatchcase(url, "*:<*_DB_PASSWORD>@*") for url in settings["secrets"].values())
