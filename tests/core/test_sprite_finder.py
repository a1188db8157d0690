"""On drawn videos; how often the verdicts are right is measured by benchmarks/subject_report.py."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.support.report_cases import KINDS, draw_case
from magref_core.evaluation import sprite_finder
from magref_core.evaluation.pasting import paste_scores
from magref_core.evaluation.sightings import spread, subjects_of
from magref_core.evaluation.sprite_finder import find_by_sprites
from magref_core.evaluation.verdicts import judge

HEIGHT, WIDTH = 64, 96


def verdicts(case):
    numbers = spread(len(case.frames), 7)
    sightings = find_by_sprites(case.frames[list(numbers)], numbers, case.references)
    return judge(sightings, [subject.name for subject in subjects_of(case.references)]).verdicts


@pytest.fixture(scope="module")
def told():
    """Of six videos of each kind, seeds of their own: kind, what is said and what is true."""
    cases = [
        draw_case(kind, number, height=HEIGHT, width=WIDTH, seed=9) for kind in KINDS for number in range(6)
    ]
    return [(c.kind, *pair) for c in cases for pair in zip(verdicts(c), c.truth, strict=True)]


def test_nine_of_ten_verdicts_on_drawn_videos_are_right(told):
    """The benchmark measures more of them; this is a guard with room for chance."""
    assert len(told) > 50
    assert sum(said == true for _, said, true in told) >= 0.9 * len(told), told


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_video_is_much_worse(told, kind):
    pairs = [(said, true) for of, said, true in told if of == kind]
    assert sum(said == true for said, true in pairs) >= 0.75 * len(pairs), pairs


def test_a_network_that_tells_nothing_costs_verdicts(monkeypatch):
    """So the tests above would see it if the network of halves broke: strangers pass for the subject."""
    lone = [draw_case("lone", number, height=HEIGHT, width=WIDTH, seed=9) for number in range(12)]
    cases = [draw_case("missing", number, height=HEIGHT, width=WIDTH, seed=9) for number in (3, 4)]
    cases += [case for case in lone if case.truth == ("missing",)]

    def num_right():
        return sum(
            said == true for case in cases for said, true in zip(verdicts(case), case.truth, strict=True)
        )

    with_network = num_right()
    monkeypatch.setattr(sprite_finder, "compare", lambda pairs: np.full((len(pairs), 2), 0.5, np.float32))
    assert len(cases) >= 4 and num_right() <= with_network - 3


def test_a_subject_is_found_where_it_stands():
    case = draw_case("correct", 1, height=HEIGHT, width=WIDTH, seed=9)
    sightings = find_by_sprites(case.frames[[0, 8, 15]], (0, 8, 15), case.references)
    middles = sightings.boxes[..., 0] + sightings.boxes[..., 2] / 2
    for index, actor in enumerate(case.scene.actors):
        assert abs(float(middles[0, index]) - actor.start) < 0.15


def test_a_picture_that_is_pasted_scores_1_and_a_new_view_less():
    case = draw_case("correct", 2, height=HEIGHT, width=WIDTH, seed=9)
    reference = case.references[0]
    frames = case.frames[:1].copy()
    fresh = paste_scores(frames, case.references)[0, 0]
    size = (round(40 * reference.width / reference.height), 40)
    picture = cv2.resize(reference.image.numpy(), size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(reference.alpha.numpy(), size, interpolation=cv2.INTER_AREA)[..., None] / 255
    part = frames[0, 2 : 2 + picture.shape[0], 3 : 3 + picture.shape[1]]
    part[:] = np.rint(part * (1 - alpha) + picture * alpha)
    pasted = paste_scores(frames, case.references)[0, 0]
    assert pasted > 0.75 and pasted > fresh + 0.1


def test_looking_can_be_stopped():
    class StoppedError(Exception):
        pass

    def check():
        raise StoppedError

    case = draw_case("correct", 1, height=HEIGHT, width=WIDTH, seed=9)
    with pytest.raises(StoppedError):
        find_by_sprites(case.frames[:1], (0,), case.references, check=check)


@pytest.mark.parametrize("frame", [0, 128, 255])
def test_an_empty_frame_shows_nobody(frame):
    case = draw_case("correct", 1, height=HEIGHT, width=WIDTH, seed=9)
    frames = np.full((2, HEIGHT, WIDTH, 3), frame, np.uint8)
    sightings = find_by_sprites(frames, (0, 1), case.references)
    assert np.isfinite(sightings.likeness).all()
    assert set(judge(sightings).verdicts) == {"missing"}
