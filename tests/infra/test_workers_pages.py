"""The pages on workers say what the code does: settings, variables, messages, links."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from components.config.workers import WorkersConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("workers*.md"))
CODE = "".join(
    path.read_text(encoding="utf-8")
    for folder in ("cli", "components", "flows")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
QUOTED = (
    "no Prefect work pool ",
    "an exchange that cannot be used",
    "MLflow in a file of this machine",
    "which is a folder of this machine",
    "a worker of work pool ",
    "no sign of life",
    "Prefect's server does not answer, trying again",
    "a cancelled run",
    "what a worker made is made again",
    "refused by ",
)
"""Parts of messages in docs/workers.md by which a reader finds the row of a failure."""


def read_rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_settings_have_their_defaults_and_descriptions():
    expected = []
    for name, field in WorkersConfig.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        shown = "" if default is None else "`{}`".format(json.dumps(default).replace('"', ""))
        expected.append([f"`{name}`", shown, field.description])
    assert read_rows("workers.md", "Settings") == expected


def test_the_variables_of_the_kubernetes_pool_have_their_defaults():
    content = (ROOT / "infra" / "kubernetes" / "gpu-work-pool.json").read_text(encoding="utf-8")
    expected = {}
    for name, variable in json.loads(content)["variables"]["properties"].items():
        default = variable.get("default", "")
        shown = default if isinstance(default, str) else json.dumps(default)
        expected[f"`{name}`"] = f"`{shown}`" if shown and name not in ("env", "labels") else ""
    rows = read_rows("workers-kubernetes.md", "The pool's variables")
    found = {row[0]: row[1] if row[1] != "see the file" else "" for row in rows}
    assert found == expected


def test_the_variables_of_the_slurm_script_are_the_ones_that_it_reads():
    script = (ROOT / "infra" / "slurm" / "worker.sbatch").read_text(encoding="utf-8")
    rows = {row[0].strip("`"): row[1].strip("`") for row in read_rows("workers-slurm.md", "Settings of the script")}
    read = dict(re.findall(r"\$\{([A-Z_]+):-([^}(]*)", script))
    assert rows.keys() == read.keys() - {"PREFIXFLEET", "PREFIXFLEET_WORKER_ENV"}
    assert rows["IDLE_MINUTES"] == read["IDLE_MINUTES"]
    assert rows["WORK_POOL"] == read["WORK_POOL"]


@pytest.mark.parametrize("words", QUOTED)
def test_a_quoted_message_is_one_of_the_code(words):
    assert words in CODE
    assert words.strip() in (ROOT / "docs" / "workers.md").read_text(encoding="utf-8").replace("\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_dvc_can_read_every_yaml_example(page):
    for example in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        assert YAML(typ="safe").load(example)  # of YAML 1.2: it refuses `{exchange: s3://...}`


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if heading else []
        slugs = [re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings]
        assert not heading or heading in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"\b(?:infra|tests|docs)/[\w./@-]+\.(?:py|yaml|json|sbatch|example|md)", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []
