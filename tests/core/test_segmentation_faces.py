"""Faces: the real insightface, with a detector that the test makes."""

import sys
from types import SimpleNamespace

import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.errors import CheckpointError, MagrefError
from magref_core.segmentation.cutout import CutOut
from magref_core.segmentation.faces import (
    Face,
    FaceCropped,
    FacePrompter,
    load_face_finder,
    region_around,
)
from magref_core.segmentation.prompts import Box
from tests.cutout_models import save_face_pack

SMALL, LARGE = (2.0, 4.0, 10.0, 12.0), (20.0, 8.0, 44.0, 32.0)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces") / "tiny"
    save_face_pack(folder, [SMALL, LARGE])
    return load_face_finder(folder)


def person(height=128, width=128, **extras):
    image = torch.full((height, width, 3), 120, dtype=torch.uint8)
    return Reference(name="alice", **{"kind": "person", "image": image, **extras})


def whole(reference):
    return CutOut(alpha=torch.full((reference.height, reference.width), 255, dtype=torch.uint8))


def test_faces_come_in_pixels_of_the_picture_the_largest_first(finder):
    """The detector sees a square of 64 pixels, so a picture of 128 doubles what it says."""
    large, small = finder(person().image.numpy())
    assert (large.box.x, large.box.y) == pytest.approx((40, 16))
    assert (large.box.width, large.box.height) == pytest.approx((48, 48))
    assert (small.box.x, small.box.y, small.box.width) == pytest.approx((4, 8, 16))
    assert large.score == pytest.approx(0.85) and small.score == pytest.approx(0.9)
    assert large.landmarks[2] == pytest.approx((64, 16 + 0.6 * 48))


def test_a_wide_picture_is_fitted_into_the_square(finder):
    large, _ = finder(person(height=64, width=256).image.numpy())
    assert (large.box.x, large.box.y) == pytest.approx((80, 32))
    assert large.box.y + large.box.height <= 64


def test_a_face_becomes_a_prompt(finder):
    prompt = FacePrompter(find=finder)(person())
    assert prompt.box == Box(x=0, y=0, width=128, height=128)
    assert len(prompt.points) == 5 and all(point.on_subject for point in prompt.points)
    second = FacePrompter(find=finder, number=2, crop="face")(person())
    assert second.box is not None and second.box.width < 20
    lost = FacePrompter(find=finder, number=3)(person())
    assert lost.box is None and (lost.points[0].x, lost.points[0].y) == (64, 64)


def test_regions_grow_from_face_to_whole_and_stay_in_the_picture():
    face = Face(box=Box(x=40, y=30, width=20, height=24), landmarks=(), score=1.0)
    regions = [
        region_around(face, crop, height=200, width=120) for crop in ("face", "head", "person", "whole")
    ]
    areas = [region.width * region.height for region in regions]
    assert areas == sorted(areas) and len(set(areas)) == 4
    assert regions[3] == Box(x=0, y=0, width=120, height=200)
    assert all(r.x >= 0 and r.y >= 0 and r.x + r.width <= 120 and r.y + r.height <= 200 for r in regions)


def test_only_what_lies_around_the_chosen_face_is_kept(finder):
    alpha = FaceCropped(segmenter=whole, find=finder, crop="face")(person()).alpha
    assert alpha is not None
    assert alpha[40, 64] == 255 and not alpha[:, :30].any() and not alpha[80:].any()
    second = FaceCropped(segmenter=whole, find=finder, crop="face", number=2)(person()).alpha
    assert second is not None and second[16, 12] == 255 and not second[:, 40:].any()


def test_objects_and_whole_crops_stay_as_they_are(finder):
    cropped = FaceCropped(segmenter=whole, find=finder, crop="face")
    assert cropped(person(kind="object")).alpha.all()
    assert FaceCropped(segmenter=whole, find=finder, crop="whole")(person()).alpha.all()


def test_no_face_several_faces_and_too_few_faces_are_said(finder):
    nobody = FaceCropped(segmenter=whole, find=lambda image: (), crop="head")(person())
    assert nobody.alpha.all()
    assert "no face is found in the picture of 'alice', so nothing is cropped" in nobody.warnings[0]
    several = FaceCropped(segmenter=whole, find=finder, crop="head")(person())
    assert "2 faces are found in the picture of 'alice' and the largest is taken" in several.warnings[0]
    few = FaceCropped(segmenter=whole, find=finder, crop="head", number=5)(person())
    assert "face 5 is wanted, so the smallest is taken: set face_number to at most 2" in few.warnings[0]


def test_a_pack_without_faces_in_a_picture_finds_none(tmp_path):
    save_face_pack(tmp_path / "blind", [])
    assert load_face_finder(tmp_path / "blind")(person().image.numpy()) == ()


def test_a_folder_without_models_or_with_broken_ones_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no insightface model in 'empty'"):
        load_face_finder(tmp_path / "empty")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "det.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"in 'broken' cannot be read .*: download the pack again"):
        load_face_finder(broken)
    save_face_pack(tmp_path / "half", [LARGE])
    (tmp_path / "half" / "det_tiny.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"in 'half' hold no face detector"):
        load_face_finder(tmp_path / "half")


def test_nothing_is_written_or_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_face_pack(tmp_path / "pack", [LARGE])
    load_face_finder(tmp_path / "pack")(person().image.numpy())
    assert not (tmp_path / "home").exists()
    assert sorted(file.name for file in (tmp_path / "pack").iterdir()) == ["det_tiny.onnx", "w_tiny.onnx"]


def test_a_missing_broken_or_old_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(MagrefError, match=r"found by insightface, which cannot be imported .*: install"):
        load_face_finder(tmp_path)
    monkeypatch.setitem(sys.modules, "insightface", SimpleNamespace(__version__="0.7.3"))
    monkeypatch.setitem(sys.modules, "insightface.app", SimpleNamespace())
    with pytest.raises(MagrefError, match=r"insightface is of version 0.7.3, but 2 or newer is needed"):
        load_face_finder(tmp_path)
