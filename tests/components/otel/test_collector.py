"""A collector that is down: told once, waited for by nobody; what comes later is sent again."""

import logging
import subprocess
import sys

import pytest
from processes import find_free_port
from waiting import wait_until

from components.otel.spans import open_span


def test_an_outage_and_its_end_are_one_line_each(otlp, caplog):
    otlp.status = 404
    with open_span("lost"):
        pass
    with open_span("lost too"):
        pass

    def list_lines():
        return [record.getMessage() for record in caplog.records if record.name == "prefixfleet.otel"]

    wait_until(list_lines, "a line on the outage")
    otlp.status = 200
    with open_span("kept"):
        pass
    otlp.wait_for("kept")
    assert wait_until(lambda: len(list_lines()) == 2, "a line on its end")
    assert list_lines() == [
        f"OpenTelemetry: {otlp.url}/v1/traces did not take what was sent: status 404; spans and metrics are dropped"
        " until it does",
        f"OpenTelemetry: {otlp.url}/v1/traces takes spans and metrics again",
    ]
    assert not [one for one in caplog.records if one.name.startswith("opentelemetry") and one.levelno > logging.INFO]


CODE = """
import time
from components.otel.metrics import send_metrics
from components.otel.spans import open_root, open_span
from prometheus_client import CollectorRegistry
began_s = time.monotonic()
for number in range(3000):
    with open_root("retrain"), open_span("plan"):
        pass
send_metrics(CollectorRegistry().collect())
print("done")
"""


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_a_process_ends_although_its_collector_is_down(otlp, kind, monkeypatch):
    """More spans than the queue holds. The process would hang for minutes, not seconds, if anything waited."""
    otlp.may_answer.clear()
    url = otlp.url if kind == "hangs" else f"http://user:secret@127.0.0.1:{find_free_port()}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert ("ConnectionError" in done.stderr) == (kind == "refuses")
