"""The section `notify`: who is told of what the fleet did, by mail, chat or webhook."""

from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from components.config.problems import HIDDEN
from components.config.section import Section

EventGroup = Literal["night", "stopped", "failure", "refusal", "rollback", "move", "drift"]
EVENT_GROUPS: tuple[EventGroup, ...] = get_args(EventGroup)
_KINDS = ("env:", "file:", "block:")


def _check_reference(text: str) -> str:
    if not text.startswith(_KINDS) or not text.partition(":")[2].strip():
        raise PydanticCustomError(
            HIDDEN, "a reference: env:VARIABLE, file:PATH or block:NAME of a Prefect Secret block"
        )
    return text


def _check_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address or parts.username is not None or parts.password is not None:
        raise PydanticCustomError(HIDDEN, "a URL that begins with http:// or https:// and has no credentials")
    return url


Reference = Annotated[str, AfterValidator(_check_reference)]
"""Where a secret is; never the secret."""
_Name = Annotated[str, Field(pattern="^[a-z0-9][-a-z0-9]{0,39}$")]


class ChannelConfig(Section):
    """People who are told: one address of Apprise, or several, separated by spaces."""

    name: _Name = Field(description="lowercase letters, digits and '-'")
    url: Reference = Field(
        description="where Apprise's URL is: env:VARIABLE, file:PATH or block:NAME of a Secret block in Prefect"
    )
    events: list[EventGroup] = Field(
        default=["night", "stopped", "rollback"], min_length=1, description="what is told, docs/notifications.md"
    )
    only_if_needed: bool = Field(
        default=False, description="of nights, tell only those in which something needs a person"
    )


class WebhookConfig(Section):
    """A program that is told, by signed requests."""

    name: _Name = Field(description="lowercase letters, digits and '-'")
    url: Annotated[str, AfterValidator(_check_address)] = Field(
        description="http:// or https:// of the receiver, without credentials"
    )
    secret: Reference = Field(
        description="where the key of the signature is (whsec_ and base64): env:VARIABLE, file:PATH or block:NAME"
    )
    events: list[EventGroup] | None = Field(default=None, min_length=1, description="what is told; null: everything")


class NotifyConfig(Section):
    """Messages to people and programs. Nothing is sent without a channel or webhook."""

    fleet: str = Field(default="PrefixFleet", min_length=1, max_length=60, description="name of the fleet in messages")
    channels: list[ChannelConfig] = Field(default=[], description="mail, chat and other services, by Apprise")
    webhooks: list[WebhookConfig] = Field(default=[], description="receivers of signed events")
    give_up_hours: float = Field(
        default=72.0, gt=0, description="hours for which a message is tried again that a receiver does not accept"
    )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [one.name for one in self.targets]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"different names for all channels and webhooks; repeated: {', '.join(repeated)}")
        return self

    @property
    def targets(self) -> list[ChannelConfig | WebhookConfig]:
        """All channels, then all webhooks."""
        return [*self.channels, *self.webhooks]
