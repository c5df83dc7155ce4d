"""Flows in this process: errors of Prefect's server become errors for users, others are raised as they are."""

import sys

import httpx
import pytest

from components.errors import WorkspaceError
from flows import run_local


@pytest.fixture(autouse=True)
def workspace(tmp_path):
    """A folder that passes for a workspace."""
    (tmp_path / "params.yaml").touch()


@pytest.fixture
def fail(monkeypatch, tmp_path):
    """A function that lets the flow `dataset` raise an error."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))

    def set_error(problem):
        def run(*_arguments, **_options):
            raise problem

        from flows import dataset

        monkeypatch.setattr(dataset, "dataset", run)

    return set_error


def test_a_server_of_the_user_s_that_does_not_answer_is_named(fail, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    fail(RuntimeError("Failed to reach API at http://127.0.0.1:9/api\nmore"))
    with pytest.raises(WorkspaceError, match=r"a Prefect server at http://127\.0\.0\.1:9/api") as problem:
        run_local.run_flow("dataset", tmp_path, None)
    assert problem.value.got == "Failed to reach API at http://127.0.0.1:9/api"


def test_a_server_that_refuses_the_credentials_is_not_started_but_given_a_key(fail, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", "https://fleet.example.com/prefect/api")
    for status in (401, 403):
        request = httpx.Request("POST", "https://fleet.example.com/prefect/api/flows/")
        fail(httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status)))
        with pytest.raises(WorkspaceError, match="in PREFECT_API_AUTH_STRING"):
            run_local.run_flow("dataset", tmp_path, None)


def test_other_errors_are_raised_unchanged(fail, tmp_path):
    fail(RuntimeError("a mistake in the code"))
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run_local.run_flow("dataset", tmp_path, None)


def test_a_home_that_cannot_be_made_is_an_error_with_its_path(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "prefect"))
    with pytest.raises(WorkspaceError, match=str(tmp_path / "file")):
        run_local.run_flow("dataset", tmp_path, None)


def test_the_user_s_server_is_that_of_the_variable_or_of_prefect_s_profile(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "http://variable/api")
    assert run_local.find_named_server() == "http://variable/api"
    monkeypatch.delenv("PREFECT_API_URL")
    assert run_local.find_named_server() is None
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "far"\n[profiles.near]\n[profiles.far]\nPREFECT_API_URL = "http://far/api"\n')
    assert run_local.find_named_server() == "http://far/api"
    monkeypatch.setenv("PREFECT_PROFILE", "near")
    assert run_local.find_named_server() is None
    profiles.write_text("active =")
    assert run_local.find_named_server() is None


def test_prefect_s_home_is_made_also_with_a_named_server(fail, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "var" / "prefect"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    fail(RuntimeError("a mistake in the code"))
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run_local.run_flow("dataset", tmp_path, None)
    assert (tmp_path / "var" / "prefect").is_dir()


def test_errors_of_background_imports_are_ignored():
    with run_local._import_in_background(["no_such_module", "colorsys"]):
        pass
    assert "colorsys" in sys.modules


def test_a_parent_of_workers_does_not_import_what_trains(tmp_path, set_params):
    training = {"components.training.loop", "components.model.decoding"}
    for workers, imported in ((None, training), ({"exchange": "file:///x"}, set()), ({"exchange": 5}, training)):
        set_params(tmp_path, **({"workers": workers} if workers else {}))
        assert training & set(run_local._list_slow_imports("retrain", tmp_path)) == imported
