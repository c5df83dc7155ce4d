"""The switch PREFIXFLEET_OTEL. Everything else is set by OpenTelemetry's own variables (OTEL_...). Imports no SDK."""

import os
from importlib.util import find_spec

from components.errors import ConfigError

SWITCH_VARIABLE = "PREFIXFLEET_OTEL"
_DISABLED_VARIABLE = "OTEL_SDK_DISABLED"
_PROTOCOL_VARIABLE = "OTEL_EXPORTER_OTLP_PROTOCOL"
_PROTOCOL = "http/protobuf"
_EXPORTER_MODULE = "opentelemetry.exporter"
"""The first package that only the extra `traces` installs; `opentelemetry` itself comes with MLflow."""


def is_on() -> bool:
    """Return whether spans and metrics are exported."""
    return os.environ.get(SWITCH_VARIABLE) == "otlp" and os.environ.get(_DISABLED_VARIABLE, "").lower() != "true"


def wants_spans() -> bool:
    """Return whether spans are exported: not with OTEL_TRACES_EXPORTER=none."""
    return is_on() and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"


def wants_metrics() -> bool:
    """Return whether metrics are exported: not with OTEL_METRICS_EXPORTER=none."""
    return is_on() and os.environ.get("OTEL_METRICS_EXPORTER", "otlp") != "none"


def check_otel() -> None:
    """Raise ConfigError if the switch has an unknown value, or is on and what it needs is missing."""
    value = os.environ.get(SWITCH_VARIABLE, "off")
    if value not in ("off", "otlp"):
        raise ConfigError("off or otlp", f"{SWITCH_VARIABLE}={value!r}", "set one of these")
    if not is_on():
        return
    for signal in ("TRACES", "METRICS"):
        _check_variable(f"OTEL_{signal}_EXPORTER", ("otlp", "none"))
        _check_variable(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", (_PROTOCOL,))
    _check_variable(_PROTOCOL_VARIABLE, (_PROTOCOL,))
    if find_spec(_EXPORTER_MODULE) is None:
        fix = f"pip install 'prefixfleet[traces]', or unset {SWITCH_VARIABLE}"
        raise ConfigError(f"OpenTelemetry's exporter for {SWITCH_VARIABLE}=otlp", "no such package", fix)


def _check_variable(name: str, known: tuple[str, ...]) -> None:
    value = os.environ.get(name) or known[0]
    if value not in known:
        fix = f"set {' or '.join(known)}, or unset {name}"
        raise ConfigError(f"{' or '.join(known)} as {name}", repr(value), fix)
