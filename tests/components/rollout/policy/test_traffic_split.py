"""The traffic split is sticky, grows in one direction, has the right size, and differs between trials and tenants."""

from hypothesis import given
from hypothesis import strategies as st

from components.rollout.policy.traffic_split import assign_arm, choose_arm, hash_key
from components.rollout.types import EvidenceTicket, Exposure

shares = st.floats(0.0, 1.0)


@given(tenant=st.text(max_size=8), key=st.text(max_size=40), salt=st.text(max_size=4), one=shares, other=shares)
def test_a_growing_share_only_moves_keys_to_the_challenger(tenant, key, salt, one, other):
    less, more = sorted((one, other))
    if choose_arm(tenant, key, less, salt) == "challenger":
        assert choose_arm(tenant, key, more, salt) == "challenger"


@given(tenant=st.text(max_size=8), key=st.text(max_size=40), salt=st.text(max_size=4))
def test_a_share_of_0_is_no_key_and_a_share_of_1_is_every_key(tenant, key, salt):
    assert choose_arm(tenant, key, 0.0, salt) == "champion"
    assert choose_arm(tenant, key, 1.0, salt) == "challenger"


def test_the_share_is_met_within_four_standard_deviations():
    count = 20_000
    for share in (0.01, 0.05, 0.25, 0.5):
        drawn = sum(choose_arm("acme", f"user-{number}", share, "3") == "challenger" for number in range(count))
        assert abs(drawn - share * count) < 4 * (count * share * (1 - share)) ** 0.5


def test_trials_and_tenants_select_different_keys():
    keys = [f"user-{number}" for number in range(4_000)]

    def drawn(tenant, salt):
        return {key for key in keys if choose_arm(tenant, key, 0.25, salt) == "challenger"}

    first = drawn("acme", "3")
    for other in (drawn("acme", "4"), drawn("birch", "3")):
        assert abs(len(first & other) - 250) < 4 * (4_000 / 16 * 15 / 16) ** 0.5


def test_a_key_has_the_same_arm_in_every_process():
    answers = [choose_arm("acme", key, 0.5, "3") for key in ("ada", "bob", "cleo")]
    assert answers == ["champion", "challenger", "challenger"]


def test_a_larger_share_randomises_the_champion_s_users_again_and_no_others():
    first, later = (
        Exposure("3", 0.2, False, share_started_s=60),
        Exposure("3", 0.5, False, previous_share=0.2, share_started_s=120),
    )
    users = [f"user-{number}" for number in range(20_000)]
    before, after = ({user: assign_arm("acme", user, exposure) for user in users} for exposure in (first, later))
    assert all(ticket == EvidenceTicket(60, hash_key("acme", user, "3")) for user, (_, ticket) in before.items())
    again = {user for user, (_, ticket) in after.items() if ticket}
    assert again == {user for user, (drawn, _) in before.items() if drawn == "champion"}
    moved = sum(after[user][0] == "challenger" for user in again)
    assert abs(moved - 0.375 * len(again)) < 4 * (len(again) * 0.375 * 0.625) ** 0.5


def test_requests_without_a_user_are_randomised_one_by_one():
    exposure, count = Exposure("3", 0.5, False, share_started_s=60), 4_000
    draws = [assign_arm("acme", None, exposure) for _ in range(count)]
    assert abs(sum(drawn == "challenger" for drawn, _ in draws) - count / 2) < 4 * (count / 4) ** 0.5
    assert {ticket for _, ticket in draws} == {EvidenceTicket(60, None)}


def test_answers_of_a_share_with_unknown_start_are_no_evidence():
    assert assign_arm("acme", "ada", Exposure("3", 0.5, False))[1] is None
