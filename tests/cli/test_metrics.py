"""The command `metrics`, and what `rollout` leaves for it."""


def test_a_cycle_with_nothing_to_do_leaves_its_end_in_the_page_and_in_the_textfile(call, make_root, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL")
    root = make_root(("alder",), metrics={"textfile": "fleet.prom"})
    assert 'flow="rollout"' not in call(root, "metrics").stdout
    assert call(root, "rollout").exit_code == 0
    printed = call(root, "metrics").stdout
    assert 'prefixfleet_flow_end_timestamp_seconds{flow="rollout"} ' in printed
    assert printed == (root / "fleet.prom").read_text()
