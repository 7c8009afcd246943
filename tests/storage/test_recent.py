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
    first = recent.get(one, compute)
    assert recent.get(one, compute) is first and recent.get(other, compute) is not first
    assert recent.get(one, compute, "frame") is not first and recent.get(one, compute, "frame") is not None
    assert computed == [0, 1, 2]


def test_what_was_not_asked_for_longest_goes_first_and_the_newest_stays():
    recent = Recent(2 * 80)
    one, other, third, large = (Thing() for _ in range(4))
    kept = {thing: recent.get(thing, lambda: np.zeros(10)) for thing in (one, other)}
    assert recent.get(one, lambda: None) is kept[one]
    recent.get(third, lambda: np.zeros(10))
    assert recent.get(one, lambda: np.ones(10)) is kept[one]
    assert recent.get(other, lambda: np.ones(10)) is not kept[other]
    huge = recent.get(large, lambda: np.zeros(1000))
    assert recent.get(large, lambda: None) is huge
    assert recent.get(one, lambda: np.ones(10)) is not kept[one]


def test_a_new_object_at_an_old_ones_address_is_another_one():
    recent = Recent(10**6)
    recent.get(Thing(), lambda: np.zeros(1))
    assert all(recent.get(Thing(), lambda k=k: np.full(1, k))[0] == k for k in range(1, 50))
