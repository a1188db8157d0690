"""Encoders and faces are handed in: here by functions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError, ShapeError
from magref_core.evaluation.face_finder import KnownFace, find_by_faces
from magref_core.evaluation.patch_finder import find_by_patches
from magref_core.evaluation.verdicts import judge

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 160, 30)


def encode(pictures):
    """Colours of 16 x 16 patches as tokens, and the mean of what is not white as the summary."""
    patches = F.avg_pool2d(pictures.permute(0, 3, 1, 2), 14).permute(0, 2, 3, 1)  # 16 x 16 of 224
    tokens = (patches - 0.5).flatten(1, 2)
    seen = ((pictures - 1).abs().sum(3) > 0.1).unsqueeze(3)
    summaries = ((pictures - 0.5) * seen).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1)
    return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1), summaries


def person(name, colour):
    image = torch.tensor(colour, dtype=torch.uint8).expand(40, 20, 3).contiguous()
    return Reference(name=name, kind="person", image=image)


def frame(*stands):
    """Boxes of a colour on a green field; x in 0..160."""
    picture = np.empty((96, 160, 3), np.uint8)
    picture[:] = GREEN
    for x, colour in stands:
        picture[30:80, x : x + 30] = colour
    return picture


BOTH = (person("red", RED), person("blue", BLUE))


def look(*frames):
    return find_by_patches(np.stack(frames), tuple(range(len(frames))), BOTH, encode=encode)


def test_patches_tell_who_stands_where():
    sightings = look(*[frame((20, RED), (110, BLUE))] * 2)
    middles = (sightings.boxes[..., 0] + sightings.boxes[..., 2] / 2)[0]
    assert middles[0] == pytest.approx(35 / 160, abs=0.08) and middles[1] == pytest.approx(
        125 / 160, abs=0.08
    )
    assert judge(sightings, ("red", "blue")).verdicts == ("correct", "correct")
    assert judge(sightings, ("blue", "red")).verdicts == ("swapped", "swapped")


def test_patches_tell_whom_nothing_is_like():
    assert judge(look(frame((20, RED))), ("red", "blue")).verdicts == ("correct", "missing")


def test_an_encoder_with_a_single_token_is_refused():
    def one(pictures):
        return torch.zeros(len(pictures), 1, 3), torch.zeros(len(pictures), 3)

    with pytest.raises(ShapeError, match=r"gives 1 patches of a picture, but at least 4 are needed"):
        find_by_patches(frame()[None], (0,), BOTH, encode=one)


def faces_of(picture):
    """A face where a box of a colour is; its features are the colour."""
    found = []
    for colour in (RED, BLUE):
        rows, columns = np.nonzero((picture == np.array(colour)).all(2))
        if len(rows):
            box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            features = np.array(colour, np.float32) - 100
            found.append(KnownFace(box=tuple(float(each) for each in box), features=features))
    return found


def by_faces(*frames, references=BOTH):
    return find_by_faces(np.stack(frames), tuple(range(len(frames))), references, see=faces_of)


def test_faces_tell_who_stands_where():
    sightings = by_faces(*[frame((20, RED), (110, BLUE))] * 2)
    np.testing.assert_allclose(sightings.boxes[0, 1], [110 / 160, 30 / 96, 30 / 160, 50 / 96])
    assert judge(sightings, ("red", "blue")).verdicts == ("correct", "correct")
    assert judge(sightings, ("blue", "red")).verdicts == ("swapped", "swapped")


def test_a_video_without_faces_shows_nobody():
    sightings = by_faces(frame(), frame())
    assert not sightings.likeness.any() and not sightings.boxes.any()
    assert judge(sightings, ("red", "blue")).verdicts == ("missing", "missing")


def test_a_face_that_is_seen_in_few_frames_is_missing():
    frames = [frame((20, RED), (110, BLUE)), *[frame((20, RED))] * 4]
    assert judge(by_faces(*frames)).verdicts == ("correct", "missing")


def test_a_picture_without_a_face_is_refused():
    with pytest.raises(
        MagrefError, match=r"no face is found in the picture of 'tree', .*: choose the method"
    ):
        by_faces(frame(), references=(BOTH[0], person("tree", GREEN)))
