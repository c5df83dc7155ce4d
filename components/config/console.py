"""The section `console`: the web pages that show the fleet."""

from typing import Literal

from pydantic import Field, field_validator

from components.config.serve import ListenConfig


class ConsoleConfig(ListenConfig):
    """The console's own process, and where it finds what the workspace does not hold."""

    port: int = Field(default=8400, ge=0, le=65535, description="0: any free port")
    server: str | None = Field(default=None, description="URL of `prefixfleet serve`; null: the console asks none")
    mlflow: str | None = Field(default=None, description="URL of MLflow's pages, for links; null: the tracking URI")
    prefect: str | None = Field(default=None, description="URL of Prefect's pages, for links; null: no links")
    url: str | None = Field(
        default=None,
        description="address of the console in browsers, without a slash at its end, also for links in reports and "
        "messages; null: as requests say, and no links",
    )
    cookie_path: Literal["/"] | None = Field(
        default=None,
        description="path below which browsers send the session's cookie; /: also to MLflow and Prefect behind the "
        "same proxy, for one login (docs/access.md); null: only to the console",
    )
    refresh_seconds: float = Field(
        default=30.0, gt=0, description="age at which the fleet is read again while somebody looks"
    )
    session_hours: float = Field(default=12.0, gt=0, description="how long a login lasts")

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("https://", "http://")) or value.endswith("/")):
            raise ValueError("a URL such as https://fleet.example.com/console, without a slash at its end")
        return value
