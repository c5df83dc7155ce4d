"""Mistakes in params.yaml and in tenant ids: every command refuses them before it changes a file."""

import pytest

BAD_IDS = ("../x", "a/b", "Upper", "a" * 200)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"train": {"prefix_lenght": 3}}, ("unknown key 'prefix_lenght'", "did you mean 'prefix_length'?")),
        ({"train": {"max_steps": "six"}}, ("a valid integer", "train.max_steps = 'six'")),
        ({"tenants": {"alder": {"train": {"sed": 1}}}}, ("tenants.alder", "did you mean 'seed'?")),
        ({"tenants": {"alder": {"train": {"seed": "x"}}}}, ("tenants.alder: train.seed = 'x'",)),
        *(({"tenants": {tenant: {}}}, ("tenant ids that are DNS labels",)) for tenant in BAD_IDS),
    ],
)
def test_a_wrong_params_file_stops_every_command(refused, make_root, set_params, tree, sections, words):
    root = make_root(("alder",))
    set_params(root, **sections)
    before = tree(root)
    for arguments in (["status"], ["stage", "train"], ["data", "check"], ["generate", "alder", "text"]):
        refused(root, arguments, *words)
    assert tree(root) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("alder.yaml", "train: {prefix_lenght: 3}\n", ("unknown key 'prefix_lenght'", "overrides/alder.yaml")),
        ("alder.yaml", "train: {", ("overrides/alder.yaml:1:", "correct this line")),
        ("Alder.yaml", "train: {prefix_length: 3}\n", ("a tenant id that is a DNS label", "overrides/Alder.yaml")),
    ],
)
def test_a_wrong_override_file_stops_every_command(refused, make_root, tree, name, content, words):
    root = make_root(("alder",))
    (root / "overrides").mkdir()
    (root / "overrides" / name).write_text(content)
    before = tree(root)
    for arguments in (["status"], ["stage", "train"], ["data", "check"], ["generate", "alder", "text"], ["serve"]):
        refused(root, arguments, *words)
    assert tree(root) == before


@pytest.mark.parametrize("tenant", BAD_IDS)
def test_a_wrong_tenant_id_is_refused_by_every_command(refused, make_root, tree, tenant):
    root = make_root(("alder",))
    before = tree(root.parent)
    source = str(root / "data/alder/train.jsonl")
    for arguments in (
        ["data", "import", "hub", source, "--tenant", tenant],
        ["data", "check", "--tenant", tenant],
        ["data", "take", "--tenant", tenant],
        ["retrain", "--tenant", tenant],
        ["status", "--tenant", tenant],
        ["generate", tenant, "text"],
        ["promote", tenant],
        ["rollback", tenant],
    ):
        refused(root, arguments, "a tenant id that is a DNS label", repr(tenant)[:40])
    assert tree(root.parent) == before


def test_a_folder_in_data_that_is_no_tenant_is_named_with_its_path(refused, make_root):
    root = make_root(("alder",))
    (root / "data/Upper").mkdir()
    for arguments in (["status"], ["stage", "train"]):
        refused(root, arguments, "a tenant id that is a DNS label", f"'Upper' in {root / 'data'}")
