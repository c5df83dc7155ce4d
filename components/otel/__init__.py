"""OpenTelemetry behind one switch, PREFIXFLEET_OTEL=otlp: spans, and the metrics of Prometheus's registries."""
