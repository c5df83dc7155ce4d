"""A delivery is taken when it has been quiet, every content once, whatever happens in between."""

from hypothesis import given
from hypothesis import strategies as st

from components.stages.triggers.debounce import find_ready_files, mark_taken, observe_files

QUIET_S = 30.0
NAMES = ("train.jsonl", "validation.jsonl")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES)),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 10.0, QUIET_S, 100.0])),
        st.tuples(st.just("look"), st.none()),
        st.tuples(st.just("look and die"), st.none()),
    ),
    max_size=40,
)


@given(_STEPS)
def test_every_content_is_taken_once_and_never_while_it_was_just_written(steps):
    written, written_at, taken = {}, {}, []
    seen, now_s, writes = {}, 0.0, 0
    for action, value in [*steps, ("look", None), ("wait", QUIET_S), ("look", None)]:
        if action == "write":
            writes += 1
            written[value], written_at[value] = str(writes), now_s
        elif action == "remove":
            written.pop(value, None)
        elif action == "wait":
            now_s += value
        else:
            seen = observe_files(seen, written, now_s)
            ready = find_ready_files(seen, now_s, QUIET_S)
            if action == "look and die":  # before the taking was recorded
                continue
            for name in ready:
                assert all(now_s - written_at[one] >= QUIET_S for one in ready)
                taken.append((name, written[name]))
            seen = mark_taken(seen, ready)
    assert len(taken) == len(set(taken))
    assert set(written.items()) <= set(taken)


def test_a_file_that_changes_is_waited_for_with_the_others_of_its_tenant():
    seen = observe_files({}, {"train.jsonl": "1", "test.jsonl": "1"}, 0.0)
    seen = observe_files(seen, {"train.jsonl": "1", "test.jsonl": "2"}, 20.0)
    assert find_ready_files(seen, 40.0, QUIET_S) == []
    assert find_ready_files(seen, 50.0, QUIET_S) == ["test.jsonl", "train.jsonl"]


def test_only_what_is_new_since_the_last_taking_is_taken():
    seen = mark_taken(observe_files({}, {"train.jsonl": "1", "test.jsonl": "1"}, 0.0), NAMES[:1])
    later = observe_files(mark_taken(seen, ["test.jsonl"]), {"train.jsonl": "2", "test.jsonl": "1"}, 60.0)
    assert find_ready_files(later, 90.0, QUIET_S) == ["train.jsonl"]


def test_a_clock_that_was_set_back_starts_the_wait_again():
    seen = observe_files({}, {"train.jsonl": "1"}, 5000.0)
    seen = observe_files(seen, {"train.jsonl": "1"}, 100.0)
    assert find_ready_files(seen, 129.0, QUIET_S) == []
    assert find_ready_files(seen, 130.0, QUIET_S) == ["train.jsonl"]
