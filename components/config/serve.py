"""The sections `serve` (how the server runs) and `access` (limits and logging of one tenant's requests)."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from components.config.section import Section

VllmLoraRank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]
"""Values of vLLM's option --max-lora-rank."""
_VLLM_OFF: Mapping[str, object] = {
    "guidance": 1,
    "num_beams": 1,
    "repetition_penalty": 1,
    "no_repeat_ngram": 0,
    "banned": [],
}
"""Settings that vLLM does not have, or means otherwise -> the value with which they change nothing."""


def find_unsupported(decoding: Mapping[str, object]) -> list[str]:
    """Return the names of settings with which vLLM cannot answer; `decoding` as `EvaluateConfig.select_decoding`."""
    return [name for name, off in _VLLM_OFF.items() if decoding.get(name, off) != off]


class ListenConfig(Section):
    """Where a server listens, and with what certificate."""

    host: str = Field(default="127.0.0.1", description="other than loopback: requires API keys")
    port: int = Field(default=8000, ge=0, le=65535, description="0: any free port")
    tls_certificate: str | None = Field(default=None, description="PEM file; null: plain HTTP")
    tls_key: str | None = Field(default=None, description="PEM file with the certificate's private key")


class VllmConfig(Section):
    """A vLLM server that `serve` starts on this machine, with the plugin of integrations/vllm."""

    python: str = Field(
        default=".venv-vllm/bin/python", description="of an environment with vLLM and prefixfleet-vllm, not this one"
    )
    options: list[str] = Field(
        default_factory=list, description="further options of its API server, such as --gpu-memory-utilization=0.9"
    )
    resident_mb: int = Field(default=1024, gt=0, description="MiB of prefixes in its memory")
    max_lora_rank: VllmLoraRank | None = Field(
        default=None,
        description="largest rank of the artifacts of method lora that vLLM answers with, also those of `engines`; "
        "null: it is started without LoRA",
    )
    max_loras: int = Field(
        default=8, gt=0, description="LoRA artifacts in one batch, each with a place of the largest rank on the device"
    )
    max_cpu_loras: int = Field(default=128, gt=0, description="LoRA artifacts in its host memory, at least `max_loras`")
    untested: Literal["warn", "refuse"] = Field(
        default="warn", description="what the plugin does in a release of vLLM that it was not tested with"
    )
    start_seconds: float = Field(default=900.0, gt=0, description="for the first engine to answer, also of `engines`")

    @model_validator(mode="after")
    def _check_loras(self) -> Self:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras of at least max_loras = {self.max_loras}")
        return self

    def find_problem(self, method: str, lora_rank: int | None, lora_outside: str = "") -> str:
        """Return why vLLM cannot answer with an artifact of this `train.method`; "": it can.

        `lora_rank`: of an artifact of method lora; None: unknown. `lora_outside`: the layers outside the blocks that it
        changes.
        """
        if method == "lora" and lora_outside:
            return f"method lora of {lora_outside}: vLLM has LoRA for layers in the base's blocks only"
        if method == "prefix" or (method == "lora" and (lora_rank or 1) <= (self.max_lora_rank or 0)):
            return ""
        if method == "lora" and self.max_lora_rank:
            return f"method lora of rank {lora_rank}, above serve.vllm.max_lora_rank = {self.max_lora_rank}"
        return f"method {method}" + (", while serve.vllm.max_lora_rank is null" if method == "lora" else "")


class ServeConfig(ListenConfig):
    """One server for all tenants."""

    follow_seconds: float = Field(default=2.0, gt=0, description="interval of reading MLflow's aliases")
    keys_seconds: float = Field(default=2.0, ge=0, description="how long a key lookup is cached")
    max_body_bytes: int = Field(default=1_000_000, gt=0, description="of one request's body")
    max_file_bytes: int = Field(
        default=20_000_000, gt=0, description="of the request that uploads one file for fine-tuning"
    )
    max_body_values: int = Field(
        default=10_000, gt=0, description="keys, texts, numbers, lists and objects in one request's body"
    )
    header_seconds: float = Field(default=10.0, gt=0, description="for a client to send a request's whole header")
    body_seconds: float = Field(default=30.0, gt=0, description="for a client to send a request's whole body")
    idle_seconds: float = Field(default=30.0, gt=0, description="before a connection without a request is closed")
    write_seconds: float = Field(default=30.0, gt=0, description="for a client to read 48 KiB of a waiting answer")
    tls_handshake_seconds: float = Field(default=10.0, gt=0, description="for a client to complete TLS's handshake")
    max_connections: int = Field(
        default=512, gt=0, description="open at once; at most half of the process's limit of open files"
    )
    max_connections_per_address: int = Field(
        default=256, gt=0, description="open at once from one IPv4 address or one IPv6 network of 64 bits"
    )
    drain_seconds: float = Field(
        default=60.0, ge=0, description="how long a stopping server waits for running requests"
    )
    console: bool = Field(default=False, description="also serve the console, at /console")
    open_metrics: bool = Field(default=False, description="serve /metrics (it names tenants) without an admin key")
    tuning_webhook: str = Field(
        default="", description="address that gets a signed notice when a fine-tuning job has ended; empty: none"
    )
    remembered_answers: int = Field(default=10_000, gt=0, description="latest answers that still accept feedback")
    remembered_mb: int = Field(default=256, gt=0, description="MiB of their sources in memory")
    shared_answer_seconds: float = Field(
        default=86_400.0,
        ge=0,
        description="how long the database keeps those answers, so that other servers accept feedback on them; 0: not "
        "at all, and only the server that gave an answer accepts feedback on it",
    )
    engine: Literal["local", "vllm"] = Field(
        default="local", description="what computes the answers: this process, or vLLM servers"
    )
    engines: list[str] = Field(
        default_factory=list,
        description="addresses of vLLM servers that others have started, dns+http://NAME:PORT for all that DNS has for "
        "a name; empty: with engine vllm, one is started here",
    )
    fallback: Literal["none", "local"] = Field(
        default="none",
        description="what answers what vLLM cannot: nothing, or an engine in this process, which loads the base too",
    )
    engine_store: str = Field(
        default="",
        description="folder in object storage to which artifacts are copied for the engines; empty: they read this "
        "workspace's var/prefixes",
    )
    vllm: VllmConfig = Field(default=VllmConfig(), description="of the vLLM server that is started here")
    rows: int = Field(
        default=64, gt=0, description="sequences per decoding step, all tenants; with guidance one counts twice"
    )
    step_tokens: int = Field(default=256, gt=0, description="prompt tokens read per step, approximately")
    queue: int = Field(default=1024, gt=0, description="sequences that may wait; beyond it requests get 429")
    tenant_queue: int = Field(default=256, gt=0, description="sequences of one tenant that may wait; beyond it 429")
    device_mb: int = Field(default=1024, gt=0, description="MiB of artifacts on the device")
    host_mb: int = Field(default=4096, gt=0, description="MiB of artifacts in host memory; unused on a CPU")
    disk_mb: int = Field(default=20_480, gt=0, description="MiB of artifacts in var/prefixes")
    shadow_queue: int = Field(default=64, ge=0, description="shadow requests that may wait; beyond it none are added")


class AccessConfig(Section):
    """Limits of one tenant's requests; `tenants.<id>.access` overrides it."""

    requests_per_minute: int | None = Field(default=None, gt=0, description="null: any number of requests")
    tokens_per_minute: int | None = Field(default=None, gt=0, description="prompt and completion; null: any number")
    max_rows: int = Field(default=64, gt=0, description="prompts times `n` in one request")
    max_prompt_chars: int = Field(default=20_000, gt=0, description="most characters of a prompt or a conversation")
    max_tokens: int = Field(default=1024, gt=0, description="largest max_tokens of a request")
    max_waiting_corrections: int = Field(
        default=1000, ge=0, description="corrections that may wait for the next training data; beyond it 429"
    )
    max_files: int = Field(default=100, ge=0, description="uploaded files for fine-tuning that are kept; beyond it 400")
    max_tuning_jobs: int = Field(default=10, ge=0, description="fine-tuning jobs that have not ended; beyond it 429")
    log_texts: bool = Field(default=False, description="write prompts and outputs to the server's log")
