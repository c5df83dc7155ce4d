"""The dashboards for Grafana; run this to write their files: `python -m infra.grafana.dashboards`.

Knows the queries; does not know Grafana's format. A test compares the files with this module.
"""

from pathlib import Path

from infra.grafana.panels import Dashboard, Panel, write_dashboard

FOLDER = Path(__file__).parent / "dashboards"


def _stat(title: str, query: str, *, unit: str = "short", bad_above: float | None = None, text: str = "") -> Panel:
    return Panel(title, [("", query)], unit, "stat", 4, text, bad_above)


def _quantiles(metric: str) -> list[tuple[str, str]]:
    shares = (("median", 0.5), ("95 %", 0.95), ("99 %", 0.99))
    buckets = f"sum by (le) (rate({metric}_bucket[$__rate_interval]))"
    return [(name, f"histogram_quantile({share}, {buckets})") for name, share in shares]


_AGE = 'time() - max(prefixfleet_flow_end_timestamp_seconds{{flow="{}"}})'
_TENANT = 'tenant=~"$tenant"'
_TROUBLES = ("store", "registry", "rollout", "observations", "inputs", "quotas", "answers")

DASHBOARDS = (
    Dashboard(
        "fleet",
        "PrefixFleet: fleet",
        (
            _stat("Servers that are ready", "sum(prefixfleet_ready)"),
            _stat("Tenants", "max(prefixfleet_tenants)"),
            _stat("Challengers", "max(prefixfleet_challengers)"),
            _stat("Versions that cannot answer", "max(prefixfleet_unusable_versions)", bad_above=1),
            _stat("Since the last rollout cycle", _AGE.format("rollout"), unit="s", bad_above=900),
            _stat("Since the last retraining", _AGE.format("retrain"), unit="s", bad_above=108_000),
            Panel(
                "Requests by status",
                [("{{status}}", "sum by (status) (rate(prefixfleet_requests_total[$__rate_interval]))")],
                "reqps",
            ),
            Panel(
                "Share of failed requests, the ten worst tenants",
                [("{{tenant}}", "topk(10, prefixfleet:tenant_error_ratio:rate10m)")],
                "percentunit",
                text="Needs the recording rules of infra/prometheus/rules.yaml.",
            ),
            Panel(
                "Generated tokens, the ten largest tenants",
                [
                    (
                        "{{tenant}}",
                        "topk(10, sum by (tenant) (rate(prefixfleet_completion_tokens_total[$__rate_interval])))",
                    )
                ],
            ),
            Panel("Trials by mode", [("{{mode}}", "max by (mode) (prefixfleet_trials)")]),
            Panel(
                "Moves in a day, by action",
                [("{{action}}", "max by (action) (increase(prefixfleet_ledger_entries_total[1d]))")],
            ),
            Panel(
                "Challengers that the champion stood in for",
                [("{{tenant}}: {{why}}", "sum by (tenant, why) (increase(prefixfleet_stood_in_total[15m]))")],
            ),
            Panel(
                "Troubles of servers",
                [(f"{{{{instance}}}}: {name}", f"prefixfleet_{name}_trouble") for name in _TROUBLES],
                width=16,
                text="1: there is one. docs/monitoring.md says what each means.",
            ),
            Panel("Age of the aliases", [("{{instance}}", "prefixfleet_aliases_age_seconds")], "s"),
        ),
    ),
    Dashboard(
        "serving",
        "PrefixFleet: serving",
        (
            Panel(
                "Requests by arm",
                [("{{arm}}", f"sum by (arm) (rate(prefixfleet_requests_total{{{_TENANT}}}[$__rate_interval]))")],
                "reqps",
            ),
            Panel(
                "Requests that failed",
                [
                    (
                        "{{tenant}} {{status}}",
                        "sum by (tenant, status) "
                        f'(rate(prefixfleet_requests_total{{{_TENANT},status=~"5.."}}[$__rate_interval]))',
                    )
                ],
                "reqps",
            ),
            Panel(
                "Tokens in a second",
                [
                    ("read", f"sum(rate(prefixfleet_prompt_tokens_total{{{_TENANT}}}[$__rate_interval]))"),
                    ("generated", f"sum(rate(prefixfleet_completion_tokens_total{{{_TENANT}}}[$__rate_interval]))"),
                ],
            ),
            Panel("Time to the end of an answer, all tenants", _quantiles("prefixfleet_request_seconds"), "s"),
            Panel("Time to the first text, all tenants", _quantiles("prefixfleet_first_piece_seconds"), "s"),
            Panel(
                "Rows",
                [
                    ("{{instance}}: running", "prefixfleet_rows_running"),
                    ("{{instance}}: queued", "prefixfleet_rows_queued"),
                ],
            ),
            Panel(
                "Refused by status",
                [("{{status}}", "sum by (status) (rate(prefixfleet_refusals_total[$__rate_interval]))")],
                "reqps",
            ),
            Panel(
                "Clients that disconnected",
                [("{{instance}}", "rate(prefixfleet_disconnects_total[$__rate_interval])")],
                "reqps",
            ),
            Panel(
                "Shadow requests by result",
                [("{{fate}}", "sum by (fate) (rate(prefixfleet_shadows_total[$__rate_interval]))")],
                "reqps",
            ),
            Panel(
                "Engines that answer",
                [("{{engine}}", "min by (engine) (prefixfleet_engine_up)")],
                text="Of vLLM servers only.",
            ),
            Panel(
                "Rows by engine",
                [("{{engine}}", "sum by (engine) (prefixfleet_engine_rows)")],
                text="Of vLLM servers only.",
            ),
            Panel(
                "Artifacts in memory",
                [
                    ("{{instance}}: device", "prefixfleet_resident_prefixes_device"),
                    ("{{instance}}: host", "prefixfleet_resident_prefixes_host"),
                ],
            ),
            Panel("Bytes of artifacts on the device", [("{{instance}}", "prefixfleet_resident_bytes")], "bytes"),
            Panel(
                "Memory of the server", [("{{instance}}", 'process_resident_memory_bytes{job="prefixfleet"}')], "bytes"
            ),
            Panel(
                "Processors used by the server",
                [("{{instance}}", 'rate(process_cpu_seconds_total{job="prefixfleet"}[$__rate_interval])')],
            ),
        ),
        by_tenant=True,
    ),
    Dashboard(
        "night",
        "PrefixFleet: night",
        (
            _stat("Since the last retraining of all tenants", _AGE.format("retrain"), unit="s", bad_above=108_000),
            _stat("Since the last rollout cycle", _AGE.format("rollout"), unit="s", bad_above=900),
            _stat("Failed tenants", 'max(prefixfleet_flow_failed_tenants{flow="retrain"})', bad_above=1),
            _stat("Trained or to train", "max(prefixfleet_run_to_train_tenants)"),
            _stat("Rejected by the gate", 'max(prefixfleet_run_tenants{result="rejected"})'),
            _stat(
                "Since the start of a run without an end",
                "time() - max(prefixfleet_run_open_began_timestamp_seconds)",
                unit="s",
            ),
            Panel(
                "Tenants of the last run, by result",
                [("{{result}}", 'max by (result) (prefixfleet_run_tenants{result!="unchanged"})')],
            ),
            Panel(
                "Registered in the last run",
                [("registered", 'sum(max by (result) (prefixfleet_run_tenants{result=~"promoted|accepted"}))')],
            ),
            Panel("Duration of flows", [("{{flow}}", "max by (flow) (prefixfleet_flow_duration_seconds)")], "s"),
            Panel(
                "Shards and workers of the last run",
                [("shards", "max(prefixfleet_run_shards)"), ("workers", "max(prefixfleet_run_workers)")],
            ),
            Panel(
                "Duration of the last run",
                [
                    (
                        "run",
                        "max(prefixfleet_run_ended_timestamp_seconds) - max(prefixfleet_run_began_timestamp_seconds)",
                    ),
                    ("longest shard", "max(prefixfleet_run_longest_shard_seconds)"),
                    ("training, all tenants", "max(prefixfleet_run_device_seconds)"),
                ],
                "s",
            ),
            Panel("Training tokens of the last run", [("tokens", "max(prefixfleet_run_training_tokens)")]),
            Panel("Retrainings in a day", [("retrainings", "max(increase(prefixfleet_runs_total[1d]))")]),
            Panel("Causes that wait for a retraining", [("causes", "max(prefixfleet_open_causes)")]),
            Panel(
                "Trials",
                [
                    ("{{mode}}", "max by (mode) (prefixfleet_trials)"),
                    ("paused", "max(prefixfleet_trials_paused)"),
                    ("pinned champions", "max(prefixfleet_pinned_tenants)"),
                ],
            ),
            Panel(
                "Age of the oldest trial", [("age", "time() - max(prefixfleet_trials_oldest_timestamp_seconds)")], "s"
            ),
        ),
    ),
)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(write_dashboard(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
