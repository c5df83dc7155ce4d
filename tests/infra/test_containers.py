"""Rules for the Dockerfile and the compose file that no linter checks. Reads the files; builds nothing."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from setuptools import find_packages

from components.config.serve import ServeConfig
from flows import worker_process

INFRA = Path(__file__).resolve().parents[2] / "infra"
PINNED = re.compile(r"[a-z0-9./-]+:[0-9a-z.-]+@sha256:[0-9a-f]{64}")
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")


def stages() -> dict[str, tuple[str, str]]:
    """Return stage name -> (the image or stage that it starts from, its lines)."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {name: (source, text) for source, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def test_every_image_from_outside_is_pinned_by_tag_and_digest():
    built = stages()
    sources = [source for source, _ in built.values() if source not in built]
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert sources
    assert images
    for image in [*sources, *images]:
        assert PINNED.fullmatch(image), image


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_each_target_runs_as_a_numbered_user_that_is_not_root(target):
    assert re.findall(r"^USER (\S+)$", stages()[target][1], flags=re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_each_target_takes_only_the_environment_from_its_build(target):
    assert re.findall(r"^COPY (.*)$", stages()[target][1], flags=re.MULTILINE) == [
        f"--from=build-{target} /opt/venv /opt/venv"
    ]


def test_the_image_sends_no_telemetry():
    for setting in ["DO_NOT_TRACK=true", "MLFLOW_DISABLE_TELEMETRY=true", "DVC_NO_ANALYTICS=1"]:
        assert setting in stages()["system"][1]
    assert "PREFECT_SERVER_ANALYTICS_ENABLED=false" in stages()["system"][1]


def test_the_build_copies_exactly_the_files_that_the_ignore_file_allows():
    allowed = {
        line[1:]
        for line in (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.MULTILINE)
    assert {name for names in copied for name in names.split()} == allowed


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
def test_a_service_that_keeps_running_has_a_health_check_and_restarts(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


def test_services_wait_for_the_one_shots_that_they_depend_on():
    waited = {
        (name, depends["condition"])
        for service in SERVICES.values()
        for name, depends in service.get("depends_on", {}).items()
    }
    assert ONE_SHOT
    for name, condition in waited:
        assert condition == ("service_completed_successfully" if name in ONE_SHOT else "service_healthy")
    assert {name for name, _ in waited} >= ONE_SHOT


def test_the_server_has_the_settings_of_the_worker_without_the_keys_of_s3():
    server, worker = SERVICES["serve"]["environment"], SERVICES["worker"]["environment"]
    assert {"MLFLOW_TRACKING_URI", "PREFIXFLEET_DATABASE"} <= server.keys()
    assert server.items() <= worker.items()
    assert not [name for name in server if name.startswith("AWS_")]
    assert SERVICES["serve"]["volumes"] == SERVICES["worker"]["volumes"]


def test_the_server_is_optional_drains_before_it_stops_and_has_a_health_check():
    service = SERVICES["serve"]
    assert service["profiles"] == ["serve"]
    assert float(service["stop_grace_period"].removesuffix("s")) > ServeConfig().drain_seconds
    port = service["command"][service["command"].index("--port") + 1]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]


def test_a_worker_of_shards_sees_no_workspace_and_reaches_storage_prefect_and_mlflow():
    service, flows = SERVICES["gpu-worker"], SERVICES["worker"]
    assert service["profiles"] == ["gpu-worker"]
    assert not [mount for mount in service["volumes"] if "WORKSPACE" in mount]
    shared = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL_S3",
        "PREFECT_API_URL",
        "MLFLOW_TRACKING_URI",
    ]
    assert all(service["environment"][name] == flows["environment"][name] for name in shared)
    assert "PREFIXFLEET_DATABASE" not in service["environment"]


def test_a_worker_of_shards_keeps_its_bases_in_a_volume_that_its_user_may_write():
    service = SERVICES["gpu-worker"]
    home = service["environment"]["PREFIXFLEET_WORKER_HOME"]
    assert service["volumes"] == [f"bases:{home}"]
    owned = re.search(r"install --directory --owner=10001 --group=10001 (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert home in owned[1].split()


def test_a_worker_of_shards_has_time_to_save_when_it_is_stopped():
    grace_s = float(SERVICES["gpu-worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > worker_process._STOP_TIMEOUT_S


def test_the_image_has_all_source_files_and_so_the_code_version_of_the_checkout():
    packages = find_packages(str(INFRA.parent), include=["cli*", "components*", "flows*"])
    folders = {
        path.parent.relative_to(INFRA.parent)
        for top in ("cli", "components", "flows")
        for path in (INFRA.parent / top).rglob("*.py")
    }
    assert {Path(*name.split(".")) for name in packages} >= folders


def test_the_image_has_the_files_that_a_new_workspace_gets():
    project = tomllib.loads((INFRA.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = [each for some in project["tool"]["setuptools"]["data-files"].values() for each in some]
    copied = {
        name for names in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in names.split()
    }
    assert patterns
    assert [each for each in patterns if not {each, str(Path(each).parent)} & copied] == []


def test_the_exchange_has_a_bucket():
    assert "exchange" in SERVICES["buckets"]["command"]


def find_writable(service: dict[str, Any]) -> set[str]:
    """The folders of a service's container to which it can write: volumes and what is in memory."""
    volumes = [mount.split(":") for mount in service.get("volumes", [])]
    return {parts[-1] for parts in volumes if parts[-1] != "ro"} | {one.split(":")[0] for one in service["tmpfs"]}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_a_read_only_root_and_no_privileges(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert not service.get("privileged")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in find_writable(service)


@pytest.mark.parametrize("name", sorted(name for name, service in SERVICES.items() if "build" in service))
def test_what_our_image_writes_is_in_a_volume_or_in_memory(name):
    service, writable = SERVICES[name], find_writable(SERVICES[name])
    environment = service["environment"]
    places = {environment["HOME"], *re.findall(r"DVC_SITE_CACHE_DIR=(\S+)", DOCKERFILE)}
    places |= {value for key, value in environment.items() if key.endswith(("_HOME", "_DIRECTORY"))}
    places |= {service["working_dir"]} if "working_dir" in service else set()
    assert [place for place in places if not any(Path(place).is_relative_to(one) for one in writable)] == []


def test_the_database_runs_as_its_own_user_with_its_data_and_its_socket_writable():
    service = SERVICES["postgres"]
    assert service["user"] == "postgres"
    assert find_writable(service) == {"/var/lib/postgresql/data", "/tmp", "/run/postgresql"}


def test_ports_are_bound_to_loopback():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_has_a_default_and_each_is_in_the_example():
    text = (INFRA / "compose.yaml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{([A-Z0-9_]+)(:[-?])", text))
    lines = (INFRA / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and line[0] != "#")
    assert used.keys() == example.keys()
    secrets = {name for name in used if name.endswith(("PASSWORD", "KEY"))}
    assert len(secrets) == 5
    for name in secrets:
        assert used[name] == ":?"
        assert example[name] == ""
    assert len(re.findall(r"(?:PASSWORD|SECRET|ACCESS_KEY\w*): (?!\$\{)", text)) == 0


def test_passwords_reach_the_databases_through_the_environment():
    given = set(SERVICES["postgres"]["environment"])
    wanted = set(re.findall(r"\\getenv \w+ (\w+)", (INFRA / "postgres/databases.sh").read_text(encoding="utf-8")))
    assert wanted
    assert wanted - given == {"PREFIXFLEET_DB_PASSWORD"}, "only the fleet's own database is optional"


def test_files_that_compose_mounts_exist():
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert files
    assert [name for name in files if not (INFRA / name).is_file()] == []
