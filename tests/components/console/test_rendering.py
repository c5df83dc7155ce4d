"""Text with commands in backquotes on a page: a code element, and nothing of the text is markup."""

from components.console.rendering import mark_code, open_templates


def test_backquotes_become_code_and_the_rest_stays_text() -> None:
    assert mark_code("run `retrain <b>` & wait") == "run <code>retrain &lt;b&gt;</code> &amp; wait"
    assert mark_code("one ` alone") == "one ` alone"


def test_an_empty_state_shows_its_command_as_code() -> None:
    macros = open_templates().get_template("macros.html").module
    assert "Run <code>prefixfleet retrain</code>." in macros.empty("No run yet.", "Run `prefixfleet retrain`.")  # type: ignore[attr-defined]
