"""Which objects may go, over random stores: nothing that is needed, young or another's; and all else."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.data.dvc_unneeded import StoreContent, choose_unneeded

BEFORE_S = 100.0
ON_A_BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILES = [f"{number:02d}" for number in range(12)]
LISTINGS = [f"l{number}.dir" for number in range(6)]


@st.composite
def draw_stores(draw):
    ages = st.sampled_from((50.0, 150.0))
    files = draw(st.dictionaries(st.sampled_from(FILES), ages))
    times = draw(st.dictionaries(st.sampled_from(LISTINGS), ages))
    named = {name: draw(st.lists(st.sampled_from(FILES), max_size=5, unique=True)) for name in times}
    return StoreContent({**files, **times}, named)


names = st.sets(st.sampled_from([*FILES, *LISTINGS]))


def remove(content, gone):
    written_s = {name: at for name, at in content.written_s.items() if name not in gone}
    return StoreContent(written_s, {name: files for name, files in content.listings.items() if name not in gone})


@ON_A_BUSY_MACHINE
@given(draw_stores(), names, st.none() | names)
def test_what_is_needed_young_or_another_s_stays(content, needed, known):
    plan = choose_unneeded(content, needed, BEFORE_S, known=known)
    gone = {*plan.listings, *plan.files}
    assert gone <= content.written_s.keys()
    assert not gone & needed
    assert all(content.written_s[name] < BEFORE_S for name in gone)
    for name in content.listings.keys() - gone:
        assert not gone & set(content.listings[name])
    if known is not None:
        own = {file for name in plan.listings for file in content.listings[name]}
        assert gone <= known | own
    assert choose_unneeded(remove(content, gone), needed, BEFORE_S, known=known).listings == []


@ON_A_BUSY_MACHINE
@given(draw_stores(), names)
def test_of_an_own_store_nothing_old_stays_that_nothing_names(content, needed):
    plan = choose_unneeded(content, needed, BEFORE_S)
    left = remove(content, {*plan.listings, *plan.files})
    named = {file for files in left.listings.values() for file in files} | needed
    for name, at in left.written_s.items():
        if not name.endswith(".dir"):
            assert name in named or at >= BEFORE_S


@ON_A_BUSY_MACHINE
@given(draw_stores(), names, names, st.data())
def test_a_removal_that_was_stopped_anywhere_is_finished_by_the_next(content, needed, known, data):
    plan = choose_unneeded(content, needed, BEFORE_S, known=known)
    order = [*plan.listings, *plan.files]
    half = remove(content, order[: data.draw(st.integers(0, len(order)))])
    rest = choose_unneeded(half, needed, BEFORE_S, known=known, begun=plan.files)
    assert {*rest.listings, *rest.files} == set(order) & half.written_s.keys()
