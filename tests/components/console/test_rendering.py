"""Text with commands in backquotes on a page: a code element, and nothing of the text is markup."""

from components.console.rendering import mark_code, open_templates


def test_backquotes_become_code_and_the_rest_stays_text() -> None:
    assert mark_code("run `retrain <b>` & wait") == "run <code>retrain &lt;b&gt;</code> &amp; wait"
    assert mark_code("one ` alone") == "one ` alone"


def test_a_moment_in_a_sentence_becomes_a_time_which_the_browser_shows_in_the_readers_zone() -> None:
    marked = mark_code("2.0 of 0 hours, deadline 2026-12-03T01:07+01:00; <b>")
    assert marked.startswith('2.0 of 0 hours, deadline <time datetime="2026-12-03T00:07:00+00:00"')
    assert marked.endswith("2026-12-03 00:07 UTC</time>; &lt;b&gt;")
    assert mark_code("version 2026-12-03 of 9999-99-99T99:99:99Z") == "version 2026-12-03 of 9999-99-99T99:99:99Z"


def test_an_empty_state_shows_its_command_as_code() -> None:
    macros = open_templates().get_template("macros.html").module
    assert "Run <code>prefixfleet retrain</code>." in macros.empty("No run yet.", "Run `prefixfleet retrain`.")  # type: ignore[attr-defined]
