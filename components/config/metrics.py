"""The section `metrics`: where flows, which end within minutes, leave their metrics for Prometheus."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from components.config.section import Section


def _check_textfile(path: str) -> str:
    if not path.endswith(".prom"):
        raise ValueError("a file name that ends with .prom, or node_exporter does not read the file")
    return path


def _check_gateway(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("a URL that begins with http:// or https:// and has no credentials")
    return url


class MetricsConfig(Section):
    """What flows write at their end, from what the database has of them; the server has its own /metrics."""

    textfile: Annotated[str, AfterValidator(_check_textfile)] | None = Field(
        default=None,
        description="path of a file NAME.prom, in the folder of node_exporter's textfile collector; null: none",
    )
    pushgateway: Annotated[str, AfterValidator(_check_gateway)] | None = Field(
        default=None, description="URL of a Prometheus Pushgateway, without credentials; null: none"
    )
    job: str = Field(
        default="prefixfleet",
        min_length=1,
        description="label `job` of what is pushed; fleets that push to the same gateway need different ones",
    )
