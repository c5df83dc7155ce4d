"""One row a flow: its last end."""

from components.rollout.store.flow_ends import FlowEnd, read_flow_ends, write_flow_end


def test_a_later_end_replaces_the_one_before_and_other_flows_stay(database):
    assert read_flow_ends(database) == []
    first = FlowEnd(flow="rollout", began_s=10.0, ended_s=12.5, failed_tenants=2)
    later = FlowEnd(flow="rollout", began_s=70.0, ended_s=71.0, failed_tenants=0)
    night = FlowEnd(flow="retrain", began_s=20.0, ended_s=3620.0, failed_tenants=1)
    for end in (first, night, later):
        write_flow_end(database, end)
    assert read_flow_ends(database) == [night, later]
