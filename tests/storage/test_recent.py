"""What was computed of the last objects is kept, within bounds, and never taken for another object's."""

import numpy as np

from ifvit.storage.recent import Recent


class Thing:
    pass


def test_it_is_computed_once_for_each_object_and_key():
    recent, computed = Recent(10**6), []

    def compute():
        computed.append(len(computed))
        return np.zeros(10), {"more": np.zeros(3)}

    one, other = Thing(), Thing()
    first = recent.of(one, compute)
    assert recent.of(one, compute) is first and recent.of(other, compute) is not first
    assert recent.of(one, compute, "frame") is not first and recent.of(one, compute, "frame") is not None
    assert computed == [0, 1, 2]


def test_what_was_not_asked_for_longest_goes_first_and_the_newest_stays():
    recent = Recent(2 * 80)
    one, other, third, large = (Thing() for _ in range(4))
    kept = {thing: recent.of(thing, lambda: np.zeros(10)) for thing in (one, other)}
    assert recent.of(one, lambda: None) is kept[one]
    recent.of(third, lambda: np.zeros(10))
    assert recent.of(one, lambda: np.ones(10)) is kept[one]
    assert recent.of(other, lambda: np.ones(10)) is not kept[other]
    huge = recent.of(large, lambda: np.zeros(1000))
    assert recent.of(large, lambda: None) is huge
    assert recent.of(one, lambda: np.ones(10)) is not kept[one]


def test_a_new_object_at_an_old_ones_address_is_another_one():
    recent = Recent(10**6)
    recent.of(Thing(), lambda: np.zeros(1))
    assert all(recent.of(Thing(), lambda k=k: np.full(1, k))[0] == k for k in range(1, 50))
