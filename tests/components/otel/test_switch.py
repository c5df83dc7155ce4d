"""The switch: its values, and what each wrong setting is answered with."""

import pytest

from components.errors import ConfigError
from components.otel import switch
from components.otel.switch import check_otel, is_on, wants_metrics, wants_spans


def test_nothing_is_on_by_default_and_each_signal_can_be_left_out(monkeypatch):
    check_otel()
    assert not is_on()
    monkeypatch.setenv("PREFIXFLEET_OTEL", "otlp")
    check_otel()
    assert wants_spans()
    assert wants_metrics()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert (wants_spans(), wants_metrics()) == (True, False)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    assert not is_on()


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("PREFIXFLEET_OTEL", "on", "off or otlp"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp or none as OTEL_TRACES_EXPORTER"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf as OTEL_EXPORTER_OTLP_PROTOCOL"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "http/protobuf as OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(monkeypatch, variable, value, wanted):
    monkeypatch.setenv("PREFIXFLEET_OTEL", "otlp")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as problem:
        check_otel()
    assert problem.value.wanted == wanted
    assert value in problem.value.got


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_OTEL", "otlp")
    monkeypatch.setattr(switch, "_EXPORTER_MODULE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'prefixfleet\[traces\]'"):
        check_otel()


def test_the_command_line_refuses_a_wrong_value(call, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFIXFLEET_OTEL", "yes")
    result = call(tmp_path, "status")
    assert result.exit_code == 2
    assert "PREFIXFLEET_OTEL='yes'" in result.stderr
