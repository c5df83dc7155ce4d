"""The site builds without a warning, from pages, README and code; a wrong link fails the build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def build(folder: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_site_has_all_pages_and_loads_nothing_from_elsewhere(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index.html", "reference/commands/index.html", "adr/index.html", "serving/index.html", "404.html"):
        html = (tmp_path / page).read_text(encoding="utf-8")
        assert 'src="http' not in html
        assert 'rel="stylesheet" href="http' not in html
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="serving/"' in start
    assert "<code>params.yaml</code>" in start


def test_a_link_to_a_page_that_does_not_exist_fails_the_build(tmp_path):
    for name in ("docs", "infra"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("dvc-remote", "__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "docs" / "status.md").open("a") as file:
        file.write("\n[a page](no-such-page.md)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "no-such-page.md" in done.stdout + done.stderr
