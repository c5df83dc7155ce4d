"""The section `metrics`."""

import pytest

from components.config import load_params


def test_without_the_section_nothing_is_published(tmp_path):
    (tmp_path / "params.yaml").write_text("base: {path: base}\n")
    metrics = load_params(tmp_path / "params.yaml").metrics
    assert (metrics.textfile, metrics.pushgateway, metrics.job) == (None, None, "prefixfleet")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ("{textfile: /var/metrics.txt}", "a file name that ends with .prom"),
        ("{pushgateway: 'gateway:9091'}", "a URL that begins with http:// or https://"),
        ("{pushgateway: 'http://ada:secret@gateway:9091'}", "has no credentials"),
        ("{job: ''}", "at least 1 character"),
    ],
)
def test_values_that_cannot_work_are_refused(refused, values, wanted):
    assert wanted in refused(f"base: {{path: base}}\nmetrics: {values}\n").wanted
