from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.evaluation.sheet import COLOURS, GAP, draw_sheet
from magref_core.evaluation.sightings import spread, subjects_of
from magref_core.evaluation.subject_report import build_report, stability
from magref_core.evaluation.verdicts import judge

from .sightings import BOTH, seen

SIZE = (11, 64, 96)


def report(sightings, order=("a", "b"), **more):
    return build_report(sightings, judge(sightings, order), size=SIZE, **more)


def test_the_json_has_all_of_it_and_reads_back():
    told = json.loads(report(seen(BOTH), ("b", "a"), pasted=np.full((3, 2), 0.95)).as_json())
    assert told["version"] == 1 and (told["width"], told["height"], told["length"]) == (96, 64, 11)
    assert told["frames"] == [0, 5, 10] and told["order"] == ["b", "a"]
    first = told["subjects"][0]
    assert first["name"] == "a" and first["verdict"] == "swapped"
    assert first["curve"] == [0.8, 0.8, 0.8] and first["boxes"][0] == pytest.approx([0.1, 0.3, 0.2, 0.6])
    assert told["confusion"] == [[0.0, 1.0], [1.0, 0.0]]
    assert any("stands in the place of another" in finding for finding in told["findings"])
    assert any("repeated pixel by pixel" in finding for finding in told["findings"])


def test_the_score_is_the_mean_likeness_halved_for_wrong_verdicts():
    assert report(seen(BOTH)).score == pytest.approx(0.8)
    assert report(seen(BOTH), ("b", "a")).score == pytest.approx(0.4)
    assert report(seen([[0.1, 0.0], [0.0, 0.8]])).score == pytest.approx((0.05 + 0.8) / 2)


def test_without_an_order_the_report_says_what_it_cannot_see():
    assert any("give the names from left to right" in finding for finding in report(seen(BOTH), ()).findings)
    assert report(seen(BOTH)).findings == ()


def test_best_and_worst_frames_are_told_by_their_numbers_in_the_video():
    sightings = seen(BOTH)
    sightings.likeness[:, 0, 0] = (0.7, 0.9, 0.5)
    line = report(sightings).subjects[0]
    assert (line.best_frame, line.worst_frame) == (5, 10)
    assert line.likeness == pytest.approx(0.7)


def test_a_steady_likeness_is_1_and_a_jumping_one_less():
    assert stability([0.5]) == stability([0.5, 0.5, 0.5]) == 1.0
    assert stability([0.4, 0.6, 0.4, 0.6]) == pytest.approx(0.6)
    assert stability([0.0, 1.0, 0.0]) == 0.0
    unsteady = seen(BOTH)
    unsteady.likeness[:, 0, 0] = (0.9, 0.5, 0.9)
    assert any("change from frame to frame" in finding for finding in report(unsteady).findings)


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"), [(1, 9, (0,)), (5, 3, (0, 2, 4)), (4, 9, (0, 1, 2, 3))]
)
def test_frames_are_spread_from_the_first_to_the_last(num_frames, count, expected):
    assert spread(num_frames, count) == expected


def subjects():
    image = torch.zeros(20, 30, 3, dtype=torch.uint8)
    image[..., 1] = 200
    return subjects_of([Reference(name=name, image=image) for name in ("a", "b")])


def test_the_sheet_shows_each_reference_and_its_frames():
    frames = np.zeros((11, 64, 96, 3), np.uint8)
    frames[..., 0] = 77
    sightings = seen([[0.1, 0.0], [0.0, 0.8]])
    sheet = draw_sheet(report(sightings), frames, subjects())
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    colours = {tuple(pixel) for pixel in sheet.reshape(-1, 3).tolist()}
    assert (0, 200, 0) in colours, "the reference"
    assert (77, 0, 0) in colours, "the frames"
    assert (
        COLOURS["missing"] in colours and COLOURS["correct"] in colours and COLOURS["merged"] not in colours
    )


def test_below_on_the_sheet_is_who_is_seen_in_whose_place():
    """Cells are the bluer the larger the share: at the right border of each, where no number stands."""
    frames = np.zeros((11, 64, 96, 3), np.uint8)
    for order, shares in ((("a", "b"), ((1, 0), (0, 1))), (("b", "a"), ((0, 1), (1, 0)))):
        sheet = draw_sheet(report(seen(BOTH), order), frames, subjects())
        for row, line in enumerate(shares):
            top = len(sheet) - GAP - 24 * (2 - row)
            for column, share in enumerate(line):
                shade = 255 - 200 * share
                assert tuple(sheet[top + 10, 160 + 120 * column + 112]) == (shade, shade, 255)


def test_the_sheet_of_a_subject_without_a_place_shows_the_whole_frame():
    sightings = seen(BOTH)
    sightings.boxes[:] = 0
    assert draw_sheet(report(sightings), np.zeros((11, 64, 96, 3), np.uint8), subjects()).any()


def test_photos_of_one_subject_are_one_and_backgrounds_nobody():
    image = torch.zeros(8, 8, 3, dtype=torch.uint8)
    given = [
        Reference(name="ann", image=image, subject="ann"),
        Reference(name="hill", image=image, kind="background"),
        Reference(name="ann 2", image=image, subject="ann"),
        Reference(name="bob", image=image),
    ]
    found = subjects_of(given)
    assert [(each.name, len(each.references)) for each in found] == [("ann", 2), ("bob", 1)]
