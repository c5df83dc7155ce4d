"""Who starts a flow that moves versions, and from where, for the ledger."""

import socket

from prefect import runtime

from components.stages.rollout.actors import Actor


def make_actor(by: str) -> Actor:
    """Return the actor that a flow's parameter `by` names; the origin names the flow run and the machine it runs on."""
    return Actor(by, f"Prefect, flow run {runtime.flow_run.id} on {socket.gethostname()}")
