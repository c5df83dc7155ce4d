"""infra/terraform, read as files: buckets, database, trust, cluster, variables. What it evaluates to: the next file."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from terraform import TERRAFORM, read_module, run_terraform

from components.config.workers import WorkersConfig
from components.stages.sharding import exchange_sets

pytest.importorskip("hcl2", reason="python-hcl2 is not installed")

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM_FILES = ROOT / "infra" / "terraform"
KUBERNETES = ROOT / "infra" / "kubernetes"
FOLDERS = {
    path.parent.relative_to(TERRAFORM_FILES).as_posix(): path.parent
    for path in sorted(TERRAFORM_FILES.rglob("versions.tf"))
    if ".terraform" not in path.parts
}
BUCKETS = ("fleet", "logs")
BLOCKED = {"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"}


@cache
def read(name: str = "modules/prefixfleet") -> dict[str, Any]:
    """Return the content of a module: address -> body. Parsing takes seconds, so it is left to the tests."""
    return read_module(FOLDERS[name])


def of_bucket(kind: str, bucket: str) -> dict[str, Any]:
    """Return the resource of a kind that belongs to a bucket, or to each bucket of a map of them."""
    body = read()[f"aws_s3_bucket_{kind}.{bucket}"]
    key, loop = ("[each.key]", "${local.buckets}") if "for_each" in read()[f"aws_s3_bucket.{bucket}"] else ("", None)
    assert body["bucket"] == f"${{aws_s3_bucket.{bucket}{key}.id}}"
    assert body.get("for_each") == loop
    return body


def list_statements() -> list[tuple[str, dict[str, Any]]]:
    """Return every statement of a policy document with the document's name."""
    return [
        (address.removeprefix("data.aws_iam_policy_document."), statement)
        for address, body in read().items()
        if address.startswith("data.aws_iam_policy_document.")
        for statement in body["statement"]
    ]


def test_all_folders_are_read_and_every_purpose_has_a_bucket():
    assert set(FOLDERS) == {
        "examples/aws",
        *(f"modules/{name}" for name in ("cluster", "policies", "prefixfleet", "settings")),
    }
    found = [name.removeprefix("aws_s3_bucket.") for name in read() if name.startswith("aws_s3_bucket.")]
    assert tuple(sorted(found)) == BUCKETS
    assert set(read()["local.buckets"]["value"]) == {"dvc", "mlflow", "exchange", "backups", "engines", "bases"}


@pytest.mark.skipif(TERRAFORM is None, reason="terraform is not on PATH")
def test_files_are_formatted():
    run_terraform("fmt", "-check", "-recursive", "-diff", folder=TERRAFORM_FILES)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_keeps_versions_is_encrypted_and_not_public(bucket: str):
    assert of_bucket("versioning", bucket)["versioning_configuration"] == [{"status": "Enabled"}]
    assert {name for name, value in of_bucket("public_access_block", bucket).items() if value is True} == BLOCKED
    assert of_bucket("ownership_controls", bucket)["rule"] == [{"object_ownership": "BucketOwnerEnforced"}]
    (rule,) = of_bucket("server_side_encryption_configuration", bucket)["rule"]
    (default,) = rule["apply_server_side_encryption_by_default"]
    own_key = {"sse_algorithm": "aws:kms", "kms_master_key_id": "${aws_kms_key.fleet.arn}"}
    assert default == (own_key if bucket == "fleet" else {"sse_algorithm": "AES256"})


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_answers_only_with_tls(bucket: str):
    document = re.fullmatch(
        r"\$\{data\.aws_iam_policy_document\.(\w+)(\[each\.key\])?\.json\}", of_bucket("policy", bucket)["policy"]
    )
    assert document
    denied = [each for name, each in list_statements() if name == document[1] and each.get("effect") == "Deny"]
    arn = f"aws_s3_bucket.{bucket}{document[2] or ''}.arn"
    assert denied == [
        {
            "sid": "OnlyWithTls",
            "effect": "Deny",
            "actions": ["s3:*"],
            "resources": [f"${{{arn}}}", f"${{{arn}}}/*"],
            "principals": [{"type": "*", "identifiers": ["*"]}],
            "condition": [{"test": "Bool", "variable": "aws:SecureTransport", "values": ["false"]}],
        }
    ]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_unfinished_uploads_and_old_versions_end(bucket: str):
    rules = of_bucket("lifecycle_configuration", bucket)["rule"]
    assert any(rule.get("abort_incomplete_multipart_upload") == [{"days_after_initiation": 2}] for rule in rules)
    assert any("noncurrent_version_expiration" in rule for rule in rules)


def test_access_to_the_fleets_buckets_is_logged():
    assert of_bucket("logging", "fleet")["target_bucket"] == "${aws_s3_bucket.logs.id}"


def test_the_exchange_ends_after_the_parent_has_removed_what_it_knows():
    assert read()["variable.workers_keep_days"]["default"] == WorkersConfig.model_fields["keep_days"].default
    assert read()["local.expire_days"]["value"] == "${ceil(var.workers_keep_days) + 1}"
    removed = {exchange_sets.locate_tenant("acme", "key")[0], exchange_sets.locate_shard("shard")[0]}
    prefixes = read()["local.expiring"]["value"]
    assert set(prefixes) == {"exchange"}
    assert set(prefixes["exchange"]) == {f"{each}/" for each in removed} | {"probe-"}
    base = exchange_sets.locate_base({"files_digest": "a", "tokenizer_files_digest": "b"})[0]
    assert f"{base}/" not in prefixes["exchange"]


def test_no_statement_allows_everything_but_the_keys_own():
    wide = [
        (name, statement["sid"])
        for name, statement in list_statements()
        if statement.get("effect", "Allow") == "Allow"
        and ("*" in statement.get("resources", []) or any(each.endswith(":*") for each in statement["actions"]))
    ]
    # In a key's policy "*" is the key, and nothing else may be written there.
    assert wide == [("key", "DecidedByPoliciesOfTheAccount"), ("key", "EncryptLogsOfTheDatabase")]
    assert not any("*" in statement["actions"] for _, statement in list_statements())


def test_the_database_is_private_encrypted_and_backed_up_and_its_password_is_in_no_file():
    database = read()["aws_db_instance.fleet"]
    wanted = {
        "engine": "postgres",
        "publicly_accessible": False,
        "storage_encrypted": True,
        "kms_key_id": "${aws_kms_key.fleet.arn}",
        "manage_master_user_password": True,
        "master_user_secret_kms_key_id": "${aws_kms_key.fleet.arn}",
        "skip_final_snapshot": False,
        "delete_automated_backups": False,
    }
    assert {name: database[name] for name in wanted} == wanted
    assert not {"password", "password_wo", "snapshot_identifier"} & set(database)
    assert read()["variable.database_deletion_protection"]["default"] is True
    assert read()["variable.database_multi_az"]["default"] is True
    assert read()["variable.database_backup_days"]["default"] >= 7
    assert read()["aws_db_parameter_group.fleet"]["parameter"] == [{"name": "rds.force_ssl", "value": "1"}]
    assert not any(address.split(".")[0].startswith(("random_", "aws_secretsmanager")) for address in read())


def test_no_file_holds_a_key_or_a_password():
    for path in TERRAFORM_FILES.rglob("*"):
        if path.is_file() and ".terraform" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:secret|password|token)\s*=\s*\"[^\"]+\"", text), path


def test_a_role_is_taken_only_by_one_account_of_one_cluster():
    (statement,) = read()["data.aws_iam_policy_document.pods"]["statement"]
    assert statement["principals"] == [{"type": "Service", "identifiers": ["pods.eks.amazonaws.com"]}]
    assert {(each["test"], each["variable"], *each["values"]) for each in statement["condition"]} == {
        ("StringEquals", "aws:RequestTag/eks-cluster-arn", "${local.cluster_arn}"),
        ("StringEquals", "aws:RequestTag/kubernetes-namespace", "${each.value.namespace}"),
        ("StringEquals", "aws:RequestTag/kubernetes-service-account", "${each.value.service_account}"),
    }
    (ci,) = read()["data.aws_iam_policy_document.ci"]["statement"]
    assert {each["variable"] for each in ci["condition"]} == {"${local.ci_issuer}:aud", "${local.ci_issuer}:sub"}


def test_roles_are_for_the_accounts_of_the_manifests():
    pool = json.loads((KUBERNETES / "gpu-work-pool.json").read_text(encoding="utf-8"))["variables"]["properties"]
    accounts = read()["local.service_accounts"]["value"]
    assert accounts["shard"] == pool["service_account_name"]["default"]
    assert read()["variable.namespace"]["default"] == pool["namespace"]["default"]
    documents = [each for path in KUBERNETES.rglob("*.yaml") for each in yaml.safe_load_all(path.read_bytes())]
    named = {
        each["metadata"]["name"]
        for each in documents
        if isinstance(each, dict) and each.get("kind") == "ServiceAccount"
    }
    # Manifests of the training alone have the first; those of a whole fleet have all.
    assert {accounts["shard"]} <= named
    assert set(accounts.values()) <= named or "gateway" not in named


def test_shards_fit_the_nodes_with_gpus_which_begin_at_none():
    pool = json.loads((KUBERNETES / "gpu-work-pool.json").read_text(encoding="utf-8"))["variables"]["properties"]
    group = read("modules/cluster")["module.eks"]["eks_managed_node_groups"]["gpu"]
    assert (group["min_size"], group["desired_size"]) == (0, 0)
    assert group["labels"] == pool["node_selector"]["default"]
    effects = {"NO_SCHEDULE": "NoSchedule"}
    taints = [{"key": each["key"], "effect": effects[each["effect"]]} for each in group["taints"].values()]
    assert taints == [{"key": each["key"], "effect": each["effect"]} for each in pool["tolerations"]["default"]]


@pytest.mark.parametrize("name", FOLDERS)
def test_variables_and_outputs_are_described(name: str):
    for address, body in read(name).items():
        if address.startswith(("variable.", "output.")):
            assert re.search(r"[.:] ?\S*", body["description"]), address
            assert "type" in body or address.startswith("output."), address
        for rule in body.get("validation", []) if address.startswith("variable.") else []:
            assert rule["error_message"].startswith(address.removeprefix("variable.")), address
            assert "wanted" in rule["error_message"], address


@pytest.mark.parametrize("name", FOLDERS)
def test_modules_of_the_registry_are_pinned(name: str):
    for address, body in read(name).items():
        if address.startswith("module.") and not body["source"].startswith("../"):
            assert re.fullmatch(r"\d+\.\d+\.\d+", body["version"]), address
