"""prefect.yaml, checked with Prefect's own models, since Prefect has no schema file for it."""

from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).resolve().parents[2] / "prefect.yaml"
ROOT = FILE.parent


@pytest.fixture(scope="module")
def deployments() -> list:
    from prefect.cli.deploy._models import PrefectYamlModel

    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return PrefectYamlModel.model_validate(content).deployments


def test_every_deployment_names_a_flow_that_exists_and_a_pool(deployments):
    assert deployments
    for deployment in deployments:
        module, _, function = deployment.entrypoint.rpartition(".")
        file = ROOT / f"{module.replace('.', '/')}.py"
        assert f"def {function}(" in file.read_text(encoding="utf-8")
        assert deployment.work_pool.name


def test_no_key_is_misspelt(deployments):
    # Prefect's models ignore unknown keys.
    from prefect.cli.deploy._models import DeploymentConfig

    for deployment in yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]:
        assert deployment.keys() <= DeploymentConfig.model_fields.keys()


def test_one_deployment_runs_nightly_and_one_on_demand(deployments):
    scheduled = [each for each in deployments if each.schedules or each.schedule]
    assert scheduled
    assert len(scheduled) < len(deployments)


def test_no_two_deployments_have_the_same_name(deployments):
    names = [each.name for each in deployments]
    assert sorted(set(names)) == sorted(names)
