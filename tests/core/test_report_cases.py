"""The videos by which the subject report is judged are what their truth says, and can be told apart."""

from __future__ import annotations

import pytest

from benchmarks.support.report_cases import KINDS, LEAST_APART, apart, draw_case
from magref_core.world.film import render_actor

CASES = [draw_case(kind, number, height=64, width=96, seed=9) for kind in KINDS for number in range(10)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_the_truth_follows_from_who_is_shown(case):
    own = [actor.identity for actor in case.scene.actors]
    for index, (truth, shown) in enumerate(zip(case.truth, case.shown, strict=True)):
        tracks = [each for each in case.shown if own[index] in each]
        expected = {
            "correct": shown == (own[index],),
            "missing": not tracks,
            "merged": all(len(each) == 2 for each in tracks) and len(tracks) > 0,
            "swapped": len(shown) == 1 and shown[0] in own and shown[0] != own[index],
        }
        assert expected[truth], (truth, shown)


def strangers():
    for case in CASES:
        own = [actor.identity for actor in case.scene.actors]
        for index, shown in enumerate(case.shown):
            if len(shown) == 1 and shown[0] not in own:
                yield own[index], shown[0]


def test_strangers_are_of_the_same_category_and_clearly_somebody_else():
    pairs = list(strangers())
    assert len(pairs) >= 3
    for subject, stranger in pairs:
        assert stranger.category == subject.category
        assert apart(subject, stranger) >= LEAST_APART
        assert apart(subject, subject) == 0


def test_either_half_of_a_merged_subject_has_more_than_a_third():
    mixed = [
        (case, index, shown) for case in CASES for index, shown in enumerate(case.shown) if len(shown) == 2
    ]
    shares = [upper_share(*each, frame) for each in mixed for frame in (2, 8, 14)]
    assert len(shares) >= 30
    assert all(1 / 3 < share < 2 / 3 for share in shares), shares


def upper_share(case, index, shown, frame):
    """Of the pixels of a merged subject, as far as they are within the frame."""
    upper, lower = (render_actor(case.scene, index, frame, identity=each)[..., 3] for each in shown)
    row = max(range(len(upper)), key=lambda cut: min(upper[:cut].sum(), lower[cut:].sum()))
    above, below = float(upper[:row].sum()), float(lower[row:].sum())
    return above / (above + below)
