"""Override files: their values win over params.yaml, and every mistake in them is an error that names the file."""

import pytest

from components.config import load_workspace_params
from components.config.overrides import get_override_path
from components.errors import ConfigError

PARAMS = """\
base: {path: base}
train: {prefix_length: 2, max_steps: 9, learning_rate: 0.1}
tenants:
  acme: {train: {prefix_length: 3, max_steps: 8}, gate: {min_slice: 4}}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def write(root, name, content):
    path = root / "overrides" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_tenants_file_wins_over_its_entry_in_params_which_wins_over_the_sections(root):
    write(root, "acme.yaml", "# Written by prefixfleet tune.\ntrain: {prefix_length: 5, init_text: 'a: b'}\n")
    train = load_workspace_params(root).for_tenant("acme").train
    assert (train.prefix_length, train.init_text, train.max_steps, train.learning_rate) == (5, "a: b", 8, 0.1)
    assert load_workspace_params(root).for_tenant("acme").gate.min_slice == 4


def test_a_tenant_that_params_does_not_name_has_its_file_alone(root):
    write(root, "birch.yaml", "train: {prefix_length: 7}\n")
    params = load_workspace_params(root)
    assert params.for_tenant("birch").train.prefix_length == 7
    assert params.for_tenant("acme").train.prefix_length == 3
    assert params.for_tenant("cedar").train.prefix_length == 2


@pytest.mark.parametrize("tenant", ["no", "null", "12", "12e3", "0x1f", "y"])
def test_ids_that_yaml_would_read_as_something_else_are_file_names(root, tenant):
    write(root, f"{tenant}.yaml", "train: {prefix_length: 7}\n")
    assert load_workspace_params(root).for_tenant(tenant).train.prefix_length == 7


def test_without_the_folder_params_alone_counts(root):
    assert load_workspace_params(root).for_tenant("acme").train.prefix_length == 3


def test_hidden_files_are_ignored(root):
    for name in (".gitkeep", ".acme.yaml.4711.0a1b2c3d.tmp"):
        write(root, name, "train: {")
    assert load_workspace_params(root).for_tenant("acme").train.prefix_length == 3


@pytest.mark.parametrize(
    ("content", "got", "fix"),
    [
        ("train: {prefix_lenght: 5}", "unknown key 'prefix_lenght'", "did you mean 'prefix_length'?"),
        ("trian: {prefix_length: 5}", "unknown key 'trian'", "did you mean 'train'?"),
        ("gate: {min_slice: 5}", "unknown key 'gate'", "remove the key"),
        ("7: {}", "unknown key '7'", "remove the key"),
        ("train: {7: 5}", ": train.7", "put the key in quotes"),
        ("train: {prefix_length: five}", "train.prefix_length = 'five'", "correct the value"),
        ("train: {prefix_length: 5000}", "train.prefix_length = 5000", "correct the value"),
        ("train: 5", "train = 5", "correct the value"),
        ("train: {seed: 1, seed: 2}", ":1: duplicate key 'seed'", "correct this line"),
        ("train: {seed: 1", ":1:", "correct this line"),
        ("", "an empty file", "restore it from git"),
        ("- train\n", "a list", "restore it from git"),
        (b"\xff\xfe", "can't decode byte 0xff", "correct the file"),
    ],
)
def test_wrong_content_is_an_error_that_names_the_file(root, content, got, fix):
    path = write(root, "acme.yaml", content)
    with pytest.raises(ConfigError) as problem:
        load_workspace_params(root)
    assert str(path) in problem.value.got
    assert got in problem.value.got
    assert fix in problem.value.fix


@pytest.mark.parametrize("name", ["Acme.yaml", "a_b.yaml", f"{'a' * 64}.yaml", "acme.yml", "acme.yaml~", "notes.md"])
def test_a_file_that_is_no_tenants_is_an_error_that_names_it(root, name):
    path = write(root, name, "train: {prefix_length: 5}\n")
    with pytest.raises(ConfigError, match="DNS label") as problem:
        load_workspace_params(root)
    assert problem.value.fix == f"rename or remove {path}"


def test_a_folder_in_a_files_place_and_a_file_in_the_folders_place_are_errors(root):
    get_override_path(root, "acme").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"acme\.yaml: Is a directory"):
        load_workspace_params(root)
    get_override_path(root, "acme").rmdir()
    (root / "overrides").rmdir()
    (root / "overrides").write_text("train: {}\n")
    with pytest.raises(ConfigError, match="overrides: Not a directory"):
        load_workspace_params(root)


def test_a_link_to_nowhere_is_an_error(root):
    write(root, "acme.yaml", "").unlink()
    get_override_path(root, "acme").symlink_to(root / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"no file .*acme\.yaml"):
        load_workspace_params(root)
