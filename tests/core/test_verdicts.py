from __future__ import annotations

import numpy as np
import pytest

from magref_core.errors import MagrefError
from magref_core.evaluation.verdicts import judge, parse_order

from .sightings import BOTH, seen


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((), ("correct", "correct")),
        (("a", "b"), ("correct", "correct")),
        (("b", "a"), ("swapped", "swapped")),
        (("a",), ("correct", "correct")),
    ],
)
def test_who_stands_where_another_should_is_swapped(order, expected):
    assert judge(seen(BOTH), order).verdicts == expected


def test_the_start_of_the_video_decides_who_stands_where():
    crossing = seen(BOTH, places=[(0.2, 0.8), (0.5, 0.5), (0.8, 0.2)])
    assert judge(crossing, ("a", "b")).verdicts == ("correct", "correct")
    assert judge(crossing, ("b", "a")).verdicts == ("swapped", "swapped")


def test_of_three_only_those_that_changed_places_are_swapped():
    three = seen(np.eye(3) * 0.8, places=(0.2, 0.5, 0.8))
    assert judge(three, ("b", "a", "c")).verdicts == ("swapped", "swapped", "correct")
    assert judge(three, ("c", "a", "b")).verdicts == ("swapped",) * 3


def test_whom_nothing_is_like_is_missing_and_the_others_keep_their_order():
    lost = seen([[0.1, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.8]], places=(0.2, 0.5, 0.8))
    assert judge(lost, ("a", "b", "c")).verdicts == ("missing", "correct", "correct")
    assert judge(lost, ("a", "c", "b")).verdicts == ("missing", "swapped", "swapped")


def test_whose_place_is_more_like_another_is_missing():
    assert judge(seen([[0.5, 0.8], [0.5, 0.8]])).verdicts == ("missing", "correct")


def test_whose_place_shows_two_is_merged():
    mixed = judge(seen([[0.5, 0.45], [0.1, 0.8]], shares=[[0.5, 0.5], [0.0, 1.0]]), ("a", "b"))
    assert mixed.verdicts == ("correct", "correct"), "half and half is the limit of faces"
    mixed = judge(seen([[0.5, 0.52], [0.1, 0.8]], shares=[[0.45, 0.55], [0.0, 1.0]]), ("a", "b"))
    assert mixed.verdicts == ("merged", "correct")
    np.testing.assert_allclose(mixed.confusion, [[0.45, 0.55], [0.0, 1.0]])


def test_the_matrix_shows_in_whose_place_somebody_stands():
    judged = judge(seen(BOTH), ("b", "a"))
    np.testing.assert_allclose(judged.confusion, [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(judge(seen(BOTH), ("a", "b")).confusion, np.eye(2))


def test_one_frame_blinded_does_not_make_a_subject_missing():
    sightings = seen(BOTH, frames=5)
    sightings.likeness[2] = 0
    assert judge(sightings).verdicts == ("correct", "correct")


def test_an_order_names_each_subject_at_most_once():
    assert parse_order(" a , b,", ["a", "b", "c"]) == ("a", "b")
    assert parse_order("", ["a"]) == ()
    with pytest.raises(MagrefError, match=r"the order names 'd', but the subjects are a, b: use those"):
        parse_order("a, d", ["a", "b"])
    with pytest.raises(MagrefError, match=r"the order names 'a' twice: name each subject once"):
        parse_order("a, a", ["a", "b"])
