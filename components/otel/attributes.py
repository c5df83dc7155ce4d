"""The attributes of spans: all that there are. None holds a text of a caller or of an example."""

from collections.abc import Mapping

Value = str | int | float | bool

ATTRIBUTES: Mapping[str, tuple[str, str]] = {
    "tenant": ("prefixfleet.tenant", "tenant"),
    "tenants": ("prefixfleet.tenants", "number of tenants of a shard or a step"),
    "version": ("prefixfleet.version", "number of the tenant's version in MLflow"),
    "arm": ("prefixfleet.arm", "champion, challenger or version, by which the version was chosen"),
    "run": ("prefixfleet.run", "number of the retraining among the recorded runs"),
    "dataset_version": ("prefixfleet.dataset_version", "digest in data.dvc"),
    "request": ("prefixfleet.request_id", "the request's `x-request-id`"),
    "shard": ("prefixfleet.shard", "id of a shard on a worker"),
    "worker": ("prefixfleet.worker", "host and process of a worker"),
    "outcome": ("prefixfleet.outcome", "done, skipped or failed"),
    "action": ("prefixfleet.action", "what a rollout cycle did: wait, advance, promote or rollback"),
    "accepted": ("prefixfleet.accepted", "whether the gate accepted the prefix"),
    "to_train": ("prefixfleet.to_train", "tenants that the plan trains"),
    "unchanged": ("prefixfleet.unchanged", "tenants that the plan leaves as they are"),
    "failed": ("prefixfleet.failed", "tenants that failed"),
    "removed": ("prefixfleet.removed", "versions, runs, objects and rows that a pruning removed, or found"),
    "dry_run": ("prefixfleet.dry_run", "whether a pruning only found what it would remove"),
    "backup": ("prefixfleet.backup", "id of a backup"),
    "files": ("prefixfleet.files", "files of a backup"),
    "bytes": ("prefixfleet.bytes", "bytes of a backup, or that a pruning removed or found"),
    "new_bytes": ("prefixfleet.new_bytes", "bytes of a backup that no earlier one has"),
    "step": ("prefixfleet.step", "number of a training's step, or of an engine's step since its start"),
    "steps": ("prefixfleet.steps", "number of steps"),
    "validation_loss": ("prefixfleet.validation_loss", "nats per target token"),
    "training_tokens": ("prefixfleet.training_tokens", "tokens that a training read"),
    "row": ("prefixfleet.row", "number of a row of the request, from 0"),
    "rows": ("prefixfleet.rows", "rows of all requests in an engine's step"),
    "source_tokens": ("prefixfleet.source_tokens", "tokens of prompts that an engine's step read, of all rows"),
    "ms": ("prefixfleet.ms", "milliseconds of an engine's step"),
    "finish": ("prefixfleet.finish", "stop, length, cancelled or failed"),
    "prompt_tokens": ("gen_ai.usage.input_tokens", "tokens of the prompts"),
    "completion_tokens": ("gen_ai.usage.output_tokens", "tokens of the answers"),
    "method": ("http.request.method", "GET, POST, ..."),
    "route": ("http.route", "path of the API, with names for its variable parts"),
    "status": ("http.response.status_code", "status of the answer"),
    "server": ("server.address", "host and port of a vLLM server"),
    "error": ("error.type", "class of the error; its message is in the log, in the line with the same `trace_id`"),
}
"""Short name -> name in the span, and what it says."""


def to_names(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Return attributes by their names in the span. Raises KeyError: there is no such attribute."""
    return {ATTRIBUTES[name][0]: value for name, value in attributes.items()}
