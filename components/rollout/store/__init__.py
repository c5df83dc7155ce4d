"""Tables of the rollout: state of each tenant, ledger, observations, feedback."""
