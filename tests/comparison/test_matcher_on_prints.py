"""A pair is compared in one order, with or without a run's networks, alone or among others."""

import cv2
import jax
import numpy as np
import pytest

from ifvit.comparison.matcher import Matcher
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.run_networks import load_networks
from ifvit.comparison.score import WEIGHTS_WITH_NETWORKS, Cosines, ridge_score, terms
from ifvit.config import Enhancement
from ifvit.image import ImageError, Scan
from ifvit.registration.registrar import GuessSource, frame_of
from tests.helpers.ridge_prints import FRAME, disc, drawn, finger, map_to_a

pytestmark = pytest.mark.slow


TO_A = map_to_a(40.0, (6.0, -8.0), bend=2.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def matcher(cache):
    return Matcher(cache_dir=cache).by(1, FRAME)


@pytest.fixture(scope="module")
def prints_alone():
    """A finger twice, and another one; no network looks at them."""
    shown = drawn(finger(3)), drawn(finger(3), TO_A, disc(140, 148, 125)), drawn(finger(5))
    return [Print(print_) for print_ in shown]


def compared(matcher, a, b):
    """The comparison of one pair."""
    (found,) = matcher.compare_prints([(a, b)])
    return found


def same(found, other):
    """Whether two comparisons agree to the last bit."""
    leaves = [
        jax.tree.leaves(
            (
                compared.alignment.elastic,
                compared.alignment.agreement,
                compared.evidence,
                compared.score,
                compared.module2_result,
            )
        )
        for compared in (found, other)
    ]
    return all(np.array_equal(*pair) for pair in zip(*leaves, strict=True))


def test_without_a_run_mates_and_others_in_either_order(matcher, prints_alone):
    a, b, other = prints_alone
    mate, back, stranger = compared(matcher, a, b), compared(matcher, b, a), compared(matcher, a, other)
    assert mate.score > 2 > 0 > stranger.score and mate.score == mate.ridge_score
    assert (
        mate.guess_counts == {GuessSource.flow: 3, GuessSource.minutiae: 4}
        and mate.module2_result is None
        and mate.guess is None
    )
    assert same(mate, back) and mate.alignment.inverted != back.alignment.inverted
    np.testing.assert_array_equal(mate.alignment.paired.first, back.alignment.paired.second)
    points = np.array([[120.0, 140.0], [150.0, 100.0], [180.0, 170.0]])
    assert np.linalg.norm(mate.alignment.to_a(points) - TO_A(points), axis=-1).max() < 4
    assert np.linalg.norm(back.alignment.to_b(points) - TO_A(points), axis=-1).max() < 4


@pytest.fixture(scope="module")
def of_run(runs, cache):
    return Matcher(load_networks(runs / "matcher"), cache_dir=cache)


@pytest.fixture(scope="module")
def seen(of_run, prints):
    """Three prints as the run's networks see them: two of one finger."""
    paths = [prints / name for name in ("finger0/0.png", "finger0/1.png", "finger1/0.png")]
    return list(of_run.prints_of([Scan(cv2.imread(str(path), 0), None, False) for path in paths], [250.0] * 3))


def test_the_ridges_are_enhanced_as_the_run_says(runs, of_run, cache):
    assert of_run.networks.enhancement is Enhancement.none and of_run.enhancer.method is Enhancement.gabor
    module1 = of_run.networks.module1._replace(enhancement=Enhancement.pyfing)
    of_run.networks.module1, original = module1, of_run.networks.module1
    assert of_run.networks.ridge_enhancement is Enhancement.pyfing
    of_run.networks.module1 = original


def test_with_a_run_the_order_changes_nothing_to_the_last_bit(of_run, seen):
    for a, b in ((seen[0], seen[1]), (seen[0], seen[2])):
        found, back = compared(of_run, a, b), compared(of_run, b, a)
        assert same(found._replace(module2_result=None), back._replace(module2_result=None))
        assert found.score == back.score and found.module2_result.cosines == back.module2_result.cosines
        assert found.module2_result.score == back.module2_result.score
        np.testing.assert_array_equal(found.module2_result.matches.points_a, back.module2_result.matches.points_b)
        np.testing.assert_array_equal(found.guess.matches.points_b, back.guess.matches.points_a)
        assert found.guess_counts[GuessSource.module1] in (0, 1)


def test_cosines_are_weighed_as_fitted_and_a_higher_one_never_speaks_against(of_run, seen):
    found = compared(of_run, *seen[:2])
    weighed = terms(found.evidence, found.module2_result.cosines) @ WEIGHTS_WITH_NETWORKS
    assert found.score == pytest.approx(min(float(weighed), found.evidence.paired)) and found.ridge_score > 0
    sure, alike = found.evidence._replace(paired=20), Cosines(1.0, 1.0)
    *_, of_global, of_local = WEIGHTS_WITH_NETWORKS
    for unlike, weight in ((Cosines(-1.0, 1.0), of_global), (Cosines(1.0, -1.0), of_local)):
        assert weight >= 0
        assert ridge_score(sure, alike) - ridge_score(sure, unlike) == pytest.approx(2 * weight)
    assert of_global + of_local > 0
    config = of_run.networks.module2.config
    of_global, of_local = found.module2_result.cosines
    assert found.module2_result.score == pytest.approx(
        config.global_weight * of_global + config.local_weight * of_local
    )


def test_many_are_as_one_in_any_company(of_run, seen):
    a, b, other = seen
    pairs = [(a, b), (a, other), (other, b)]
    batches = of_run.by(2)
    found = list(batches.compare_prints(pairs))
    turned = list(batches.compare_prints(pairs[::-1]))[::-1]
    for pair, first, again in zip(pairs, found, turned, strict=True):
        assert same(first, again)
        alone = compared(of_run, *pair)
        assert first.score == pytest.approx(alone.score, abs=1e-3)
        assert first.module2_result.score == pytest.approx(alone.module2_result.score, abs=1e-3)
        assert first.alignment.source is alone.alignment.source


def test_prints_of_any_size_share_a_batch(of_run, seen, prints):
    """Each pair lies in a frame of its own; beside a larger one it says what it says alone."""
    small = cv2.imread(str(prints / "finger0" / "0.png"), 0)
    large = of_run.print_of(Scan(np.tile(small, (2, 2)), None, False), 250.0)
    pairs = [(seen[0], seen[1]), (large, seen[0]), (seen[0], seen[2])]
    assert frame_of(shown.of_ridges for shown in seen) != frame_of([large.of_ridges])
    together = list(of_run.by(3).compare_prints(pairs))
    for pair, found in zip(pairs, together, strict=True):
        alone = compared(of_run, *pair)
        assert found.score == pytest.approx(alone.score, abs=1e-4)
        np.testing.assert_allclose(found.module2_result.cosines, alone.module2_result.cosines, atol=1e-4)


def test_aligning_leaves_module_2_out(of_run, seen):
    (found,) = of_run.compare_prints([seen[:2]], use_module2=False)
    assert found.module2_result is None and found.guess is not None
    assert same(found, compared(of_run, *seen[:2])._replace(module2_result=None))


def test_module_1_alone_takes_part(runs, cache, seen):
    matcher = Matcher(load_networks(runs / "dense"), cache_dir=cache)
    found = compared(matcher, *seen[:2])
    assert found.module2_result is None and found.guess is not None and found.score == found.ridge_score


def test_what_is_no_print_is_said_in_its_place(of_run):
    y, x = np.mgrid[:90, :90]
    good = np.uint8(128 + 90 * np.cos(x / 1.5 + np.sin(y / 9)))
    flat = np.full((90, 90), 200, np.uint8)
    flat[0, 0] = 199
    found = list(of_run.prints_of([Scan(flat, None, False), Scan(good, None, False)], [250.0, 250.0]))
    assert isinstance(found[0], ImageError) and isinstance(found[1], Print)
    with pytest.raises(ImageError, match="no ridges"):
        of_run.print_of(Scan(flat, None, False), 250.0)
