"""What a server makes while it starts is not looked at again by the garbage collector."""

import gc

from components.serving.garbage import freeze_survivors


def is_collected(thing) -> bool:
    return any(one is thing for one in gc.get_objects())


def test_what_exists_and_what_survives_the_next_full_collections_is_excluded():
    first = ["before"]
    stop = freeze_survivors(2)
    second = ["after"]
    try:
        assert not is_collected(first)
        assert is_collected(second)
        gc.collect(1)
        assert is_collected(second)
        gc.collect()
        assert not is_collected(second)
        third = ["later"]
        gc.collect()
        assert is_collected(third)
    finally:
        stop()


def test_it_can_be_ended_before():
    stop = freeze_survivors(3)
    stop()
    stop()
    second = ["after"]
    gc.collect()
    assert is_collected(second)


def test_one_freeze_leaves_no_callback():
    before = list(gc.callbacks)
    freeze_survivors(1)
    assert gc.callbacks == before
