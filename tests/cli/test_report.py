"""The command `report`."""

from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.stages.workspace import Workspace

AT = "2026-11-29T02:00:00+00:00"


def test_a_night_is_written_as_a_file_and_a_missing_one_exits_2(call, make_root, tmp_path):
    root = make_root(())
    missing = call(root, "report")
    assert (missing.exit_code, "prefixfleet retrain" in missing.stderr) == (2, True)
    database = Workspace(root).database
    run = begin_run_entry(database, "hand", "ada", AT)
    end_run_entry(database, run, AT, "abc.dir", 0, [RunTenant(tenant="acme", result="failed", detail="no data")])
    database.close()
    written = call(root, "report", str(run), "--output", str(tmp_path / "night.html"))
    assert (written.exit_code, written.stdout) == (0, f"{tmp_path}/night.html\n")
    assert "no data" in (tmp_path / "night.html").read_text()
    assert call(root, "report").stdout == f"{root}/out/nights/{run}.html\n"
    assert call(root, "report", "99").exit_code == 2
    assert call(root, "report", "0").exit_code == 2
