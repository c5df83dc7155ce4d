"""Runs have names that tell what they do, for whom and when, on Prefect's real server."""

import re

import pytest

WHEN = r", \d{4}-\d{2}-\d{2} \d{2}:\d{2}"


@pytest.mark.usefixtures("prefect_api")
def test_a_run_is_named_by_its_work_its_tenants_and_its_start():
    from prefect import flow, runtime

    from flows.run_names import name_run

    @flow(flow_run_name=name_run("retrain"))
    def several(tenants: list[str] | None = None) -> str:
        return str(runtime.flow_run.name)

    @flow(flow_run_name=name_run("{action} {tenant}"))
    def one(tenant: str, action: str) -> str:
        return str(runtime.flow_run.name)

    assert re.fullmatch(f"retrain all tenants{WHEN}", several())
    assert re.fullmatch(f"retrain alder, birch{WHEN}", several(["alder", "birch"]))
    many = several([f"t{number}" for number in range(50)])
    assert re.fullmatch(f"retrain t0, t1, .* and 40 more{WHEN}", many)
    assert re.fullmatch(f"pin alder{WHEN}", one("alder", "pin"))


def test_every_flow_has_a_name_of_its_own_for_each_run():
    from flows import dataset, migrate, retrain, rollout, shard, watch

    every = [dataset.dataset, retrain.retrain, shard.shard, watch.watch, migrate.migrate]
    every += [rollout.rollout, rollout.promote, rollout.rollback, rollout.hold, rollout.forget]
    assert all(one.flow_run_name for one in every)
