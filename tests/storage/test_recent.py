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

    thing, other = Thing(), Thing()
    first = recent.get(thing, compute)
    assert recent.get(thing, compute) is first and recent.get(other, compute) is not first
    assert recent.get(thing, compute, "frame") is not first and recent.get(thing, compute, "frame") is not None
    assert computed == [0, 1, 2]


def test_what_was_not_asked_for_longest_goes_first_and_the_newest_stays():
    recent = Recent(2 * 80)
    thing, other, third, large = (Thing() for _ in range(4))
    kept = {each: recent.get(each, lambda: np.zeros(10)) for each in (thing, other)}
    assert recent.get(thing, lambda: None) is kept[thing]
    recent.get(third, lambda: np.zeros(10))
    assert recent.get(thing, lambda: np.ones(10)) is kept[thing]
    assert recent.get(other, lambda: np.ones(10)) is not kept[other]
    huge = recent.get(large, lambda: np.zeros(1000))
    assert recent.get(large, lambda: None) is huge
    assert recent.get(thing, lambda: np.ones(10)) is not kept[thing]


def test_a_new_object_at_an_old_ones_address_is_another_one():
    recent = Recent(10**6)
    recent.get(Thing(), lambda: np.zeros(1))
    assert all(recent.get(Thing(), lambda k=k: np.full(1, k))[0] == k for k in range(1, 50))
