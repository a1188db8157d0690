"""Intervals hold what they promise, and know that answers of a scene belong together."""

import numpy as np
import pytest

from magref_core.errors import ShapeError
from magref_core.evaluation.intervals import difference, estimate


def test_the_mean_is_that_of_all_answers():
    found = estimate([1, 3, 0], [2, 3, 1])
    assert found is not None
    assert found.value == pytest.approx(4 / 6) and found.count == 6
    assert found.low <= found.value <= found.high


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        answers = rng.random(60) < 0.7
        found = estimate(answers, np.ones(60), seed=trial)
        held += found is not None and found.low <= 0.7 <= found.high
    assert 180 <= held <= 198


def test_equal_answers_of_a_scene_count_as_one():
    rng = np.random.default_rng(1)
    answers = rng.random(50) < 0.5
    single = estimate(answers, np.ones(50))
    tripled = estimate(3 * answers, np.full(50, 3))
    assert single is not None and tripled is not None
    assert (single.low, single.high) == (tripled.low, tripled.high)


def test_a_difference_of_the_same_scenes_is_told_more_closely():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    first, second = hard < 0.6, hard < 0.5  # nearly the same scenes succeed
    ones = np.ones(200)
    paired = difference((first, second), (ones, ones))
    mixed = difference((first, rng.permutation(second)), (ones, ones))
    assert paired is not None and mixed is not None
    assert paired.value == pytest.approx(mixed.value)
    assert paired.high - paired.low < 0.6 * (mixed.high - mixed.low)
    assert paired.is_significant


def test_the_same_seed_gives_the_same_interval():
    rng = np.random.default_rng(3)
    answers = rng.random(30)
    first, again, other = (estimate(answers, np.ones(30), seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_no_answer_gives_no_estimate():
    assert estimate([0, 0], [0, 0]) is None
    assert difference(([1], [0]), ([1], [0])) is None


def test_other_scenes_are_refused():
    with pytest.raises(ShapeError, match="give one of each per scene"):
        estimate([1, 2], [1])
    with pytest.raises(ShapeError, match="2 scenes are compared with 1"):
        difference(([1, 2], [1]), ([1, 1], [1]))
