"""Ctrl-C: exit code 130, and a message that names the trainings that the next run resumes."""

from cli.interrupted import explain_next_run, explain_stop
from components.stages import train


def test_after_ctrl_c_the_step_at_which_training_resumes_is_printed(call, make_root, monkeypatch):
    root = make_root(("alder",))

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "report_progress", stop)
    result = call(root, "stage", "train")
    assert result.exit_code == 130
    assert "resumes alder at step 2" in result.stderr


def test_without_a_saved_state_every_tenant_starts_from_step_0(make_root, capsys):
    explain_next_run(make_root(("alder",)))
    printed = capsys.readouterr().err
    assert "tenants that need a prefix start from step 0" in printed
    assert "resumes" not in printed


def test_in_a_folder_without_params_the_message_is_printed_too(tmp_path, capsys):
    explain_next_run(tmp_path)
    assert "start from step 0" in capsys.readouterr().err


def test_after_a_stop_during_an_import_the_message_is_printed_without_the_steps(make_root, monkeypatch, capsys):
    def fail(_workspace):
        raise AttributeError("partially initialized module 'torch' has no attribute 'fx'")

    monkeypatch.setattr(train, "find_resumable", fail)
    explain_stop(make_root(("alder",)), "retrain", "SIGTERM")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "training resumes at the last saved step; finished work is not repeated."
    )


def test_the_message_names_the_cause_and_trainings_only_where_a_command_trains(make_root, capsys):
    root = make_root(("alder",))
    explain_stop(root, "retrain", "SIGTERM")
    assert capsys.readouterr().err.startswith("stopped by SIGTERM; every file is complete. Run the same command again")
    explain_stop(root, "data", "Ctrl-C")
    assert capsys.readouterr().err.count("\n") == 1
    explain_stop(root, "serve", "SIGTERM")
    assert capsys.readouterr().err == "stopped by SIGTERM.\n"
