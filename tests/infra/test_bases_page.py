"""The tables of docs/bases.md are those of the registry of architectures that the tests run."""

import architectures_page


def test_the_page_has_the_registrys_tables() -> None:
    page = architectures_page.PAGE.read_text(encoding="utf-8")
    fix = "run `.venv/bin/python tests/helpers/architectures_page.py`"
    assert architectures_page.replace_tables(page) == page, fix
