"""What a worker tells the parent through a shard's folder of the exchange: signs of life, and how the shard ended."""

from pydantic import BaseModel, ConfigDict, Field

from components.stages.outcome import TenantOutcome

HEARTBEAT = "heartbeat"
OUTCOMES = "outcomes"
"""Names of the JSON values."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Heartbeat(_Message):
    """Written every few seconds while a worker has the shard."""

    counter: int = Field(description="grows with every heartbeat of one worker; a new worker starts at 1")
    worker: str = Field(description="host and process, for people; another one is another worker")
    device: str = Field(description="kind of device, such as NVIDIA H200 or cpu")
    activity: str = Field(description="what the worker does now, for people")
    steps: dict[str, int] = Field(default_factory=dict, description="tenant -> its last saved step of training")


class ShardOutcomes(_Message):
    """Written once, when all tenants of the shard are done or have failed and all files are in the exchange."""

    worker: str
    device: str
    outcomes: list[TenantOutcome] = Field(description="as from the flow `shard`: training, then evaluation")
