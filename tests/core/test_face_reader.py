"""Faces told apart by the real insightface, with tiny models that the test makes.

The detector sees the same faces in every picture, the recogniser takes the mean colour for the features.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.errors import CheckpointError, MagrefError
from magref_core.evaluation.face_finder import find_by_faces
from magref_core.evaluation.face_reader import load_face_reader
from magref_core.evaluation.verdicts import judge
from tests.cutout_models import DETECTOR_SIDE, save_face_pack

SMALL, LARGE = (4.0, 20.0, 20.0, 36.0), (32.0, 16.0, 60.0, 44.0)
RED, BLUE, GREEN = (230, 30, 40), (40, 30, 230), (20, 200, 30)


@pytest.fixture(scope="module")
def see(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces") / "tiny"
    save_face_pack(folder, [SMALL, LARGE])
    return load_face_reader(folder)


def picture(left, right, side=DETECTOR_SIDE):
    """A square of two colours, where the small and where the large face is seen."""
    pixels = np.empty((side, side, 3), np.uint8)
    pixels[:, : side * 26 // 64] = left
    pixels[:, side * 26 // 64 :] = right
    return pixels


def person(name, colour):
    return Reference(name=name, kind="person", image=torch.from_numpy(picture(colour, colour)))


def mean_colour(colour):
    """The features of a face of one colour."""
    features = (np.array(colour) - 127.5) / 127.5
    return features / np.linalg.norm(features)


def test_faces_come_the_largest_first_with_boxes_in_pixels_and_their_features(see):
    large, small = see(picture(RED, BLUE, side=2 * DETECTOR_SIDE))
    assert large.box == pytest.approx((64, 32, 56, 56)) and small.box == pytest.approx((8, 40, 32, 32))
    np.testing.assert_allclose(large.features, mean_colour(BLUE), atol=0.02)
    np.testing.assert_allclose(small.features, mean_colour(RED), atol=0.02)
    assert large.features.dtype == np.float32


def test_the_report_tells_people_by_them(see):
    frames = np.stack([picture(RED, BLUE)] * 3)
    sightings = find_by_faces(frames, (0, 1, 2), (person("red", RED), person("blue", BLUE)), see=see)
    np.testing.assert_allclose(sightings.boxes[0, 0], np.array([4, 20, 16, 16]) / 64, atol=1e-3)
    assert judge(sightings, ("red", "blue")).verdicts == ("correct", "correct")
    assert judge(sightings, ("blue", "red")).verdicts == ("swapped", "swapped")
    sightings = find_by_faces(frames, (0, 1, 2), (person("red", RED), person("green", GREEN)), see=see)
    assert judge(sightings).verdicts == ("correct", "missing")


def test_a_picture_in_which_no_face_is_seen_gives_none_and_says_so_as_a_reference(tmp_path):
    save_face_pack(tmp_path / "blind", [])
    blind = load_face_reader(tmp_path / "blind")
    assert blind(picture(RED, BLUE)) == ()
    with pytest.raises(MagrefError, match=r"no face is found in the picture of 'red', .*: choose the method"):
        find_by_faces(picture(RED, BLUE)[None], (0,), (person("red", RED),), see=blind)


def test_a_video_without_faces_shows_nobody(see, tmp_path):
    save_face_pack(tmp_path / "blind", [])
    blind = load_face_reader(tmp_path / "blind")
    known = iter([see, see])

    def first_the_references(pixels):
        return next(known, blind)(pixels)

    given = (person("red", RED), person("blue", BLUE))
    frames = np.stack([picture(RED, BLUE)] * 2)
    sightings = find_by_faces(frames, (0, 1), given, see=first_the_references)
    assert not sightings.likeness.any() and not sightings.boxes.any()
    assert judge(sightings, ("red", "blue")).verdicts == ("missing", "missing")


def test_faces_below_the_least_score_are_not_seen(tmp_path):
    save_face_pack(tmp_path / "pack", [SMALL, LARGE])  # 0.9 and 0.85
    assert len(load_face_reader(tmp_path / "pack", least_score=0.87)(picture(RED, BLUE))) == 1


@pytest.mark.parametrize("side", [7, 33, 500])
def test_pictures_of_any_size_are_read(see, side):
    assert all(np.isfinite(face.features).all() for face in see(picture(RED, BLUE, side=side)))


def test_a_folder_without_usable_models_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no insightface model in 'empty': put the .onnx"):
        load_face_reader(tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "det.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"in 'broken' cannot be used .*: download the pack again"):
        load_face_reader(tmp_path / "broken")
    for name, gone in (("blind", "det_tiny.onnx"), ("numb", "w_tiny.onnx")):
        save_face_pack(tmp_path / name, [LARGE])
        (tmp_path / name / gone).unlink()
    with pytest.raises(CheckpointError, match=r"the insightface models in 'blind' cannot be used"):
        load_face_reader(tmp_path / "blind")
    with pytest.raises(CheckpointError, match=r"in 'numb' hold no recogniser: add the file of the pack"):
        load_face_reader(tmp_path / "numb")


def test_nothing_is_written_or_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_face_pack(tmp_path / "pack", [LARGE])
    load_face_reader(tmp_path / "pack")(picture(RED, BLUE))
    assert not (tmp_path / "home").exists()
    assert sorted(file.name for file in (tmp_path / "pack").iterdir()) == ["det_tiny.onnx", "w_tiny.onnx"]


def test_without_insightface_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    save_face_pack(tmp_path / "pack", [LARGE])
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(
        MagrefError, match=r"install insightface .*\(or choose the method colours or enc"
    ) as told:
        load_face_reader(tmp_path / "pack")
    assert "\n" not in str(told.value) and str(told.value).count(". ") == 0
    monkeypatch.setitem(sys.modules, "insightface", SimpleNamespace(__version__="0.7.3"))
    monkeypatch.setitem(sys.modules, "insightface.app", SimpleNamespace())
    with pytest.raises(MagrefError, match=r"insightface is of version 0.7.3, but 2 or newer is needed"):
        load_face_reader(tmp_path / "pack")
