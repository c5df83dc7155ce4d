"""The sections `serve`, how the server runs, and `access`, what one tenant's callers may ask and what is kept of it."""

from pydantic import Field

from components.config.section import Section


class ServeConfig(Section):
    """One server for all tenants."""

    host: str = Field(default="127.0.0.1", description="other than loopback only with keys")
    port: int = Field(default=8000, ge=0, le=65535, description="0: any that is free")
    tls_certificate: str | None = Field(default=None, description="PEM file; null: plain HTTP")
    tls_key: str | None = Field(default=None, description="PEM file of the certificate's key")
    follow_seconds: float = Field(default=2.0, gt=0, description="between two looks at MLflow's aliases")
    keys_seconds: float = Field(default=2.0, ge=0, description="after which a known key is looked up again")
    max_body_bytes: int = Field(default=1_000_000, gt=0, description="of one request")
    drain_seconds: float = Field(
        default=60.0, ge=0, description="for requests in flight once the server is told to end"
    )
    open_metrics: bool = Field(default=False, description="/metrics, which names tenants, without an admin key")
    remembered_answers: int = Field(default=10_000, gt=0, description="that feedback can still be given to")
    rows: int = Field(default=64, gt=0, description="of all tenants in one step; a row with guidance counts twice")
    step_tokens: int = Field(default=256, gt=0, description="that a step reads, about")
    queue: int = Field(default=1024, gt=0, description="rows that may wait; more are told to come again")
    tenant_queue: int = Field(default=256, gt=0, description="rows of one tenant that may wait")
    device_mb: int = Field(default=1024, gt=0, description="MiB of artifacts beside the base")
    host_mb: int = Field(default=4096, gt=0, description="MiB of artifacts in the host's memory, beside a GPU")
    disk_mb: int = Field(default=20_480, gt=0, description="MiB of artifacts in var/prefixes")
    shadow_queue: int = Field(default=64, ge=0, description="shadowed requests that may wait; more are not shadowed")


class AccessConfig(Section):
    """One tenant's callers; `tenants.<id>.access` overrides it."""

    requests_per_minute: int | None = Field(default=None, gt=0, description="null: no limit")
    tokens_per_minute: int | None = Field(default=None, gt=0, description="read and written; null: no limit")
    max_rows: int = Field(default=64, gt=0, description="prompts times n of one request")
    max_prompt_chars: int = Field(default=20_000, gt=0)
    max_tokens: int = Field(default=1024, gt=0, description="that one answer may be asked to have")
    log_texts: bool = Field(default=False, description="write prompts and outputs into the server's log")
