import pytest

from components.errors import WorkspaceError
from components.evaluation.suites import java


def test_a_missing_program_and_a_missing_package_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "_find_package", lambda: tmp_path)
    why, fix = java.find_problem()
    assert "stanford-corenlp" in why
    assert "again" in fix
    monkeypatch.setattr(java, "_find_package", lambda: None)
    assert java.find_problem() == (java.NO_PACKAGE, java.INSTALL_PACKAGE)
    assert "metrics" in java.INSTALL_PACKAGE
    with pytest.raises(WorkspaceError, match="pycocoevalcap"):
        java.find_jar(java.METEOR_JAR)


def test_a_missing_java_runtime_is_named_with_a_fix(monkeypatch):
    pytest.importorskip("pycocoevalcap", reason="the extra `metrics` is not installed")
    monkeypatch.setattr(java, "_is_java_available", lambda: False)
    with pytest.raises(WorkspaceError, match="java -version") as error:
        java.find_jar(java.TOKENIZER_JAR)
    assert "install" in error.value.fix
