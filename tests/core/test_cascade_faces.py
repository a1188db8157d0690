"""The detector that OpenCV 4 brings along; OpenCV 5 has none, and then no face is looked for."""

from __future__ import annotations

import sys

import pytest
import torch

from magref_core.canvas.references import Reference, read_picture
from magref_core.segmentation.cascade_faces import CascadeFaces, cascade_finder
from scripts import ROOT

PICTURES = ROOT / "workflows" / "pictures"


def shipped(name, *, alpha=None):
    image, _ = read_picture(PICTURES / f"{name}.png", label=name)
    return Reference(name=name, kind="person", image=image, alpha=alpha)


@pytest.fixture
def find_face():
    finder = cascade_finder()
    if finder is None:
        pytest.skip("the installed OpenCV brings no face detector; versions below 5 do")
    return finder


def test_without_a_detector_there_is_no_finder():
    import cv2

    has_detector = hasattr(cv2, "CascadeClassifier")
    assert (cascade_finder() is not None) == has_detector


def test_without_opencv_there_is_no_finder(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as Python marks what cannot be imported
    assert cascade_finder() is None


def test_a_face_is_found_where_it_is_and_as_high_as_it_is(find_face):
    face = find_face(shipped("astronaut"))
    assert face is not None
    # By eye: from x 135 to 200, from the fringe at y 50 to the chin at y 122.
    assert abs(face.x + face.width / 2 - 168) < 12 and abs(face.y + face.height / 2 - 86) < 12
    assert 58 < face.height < 86


def test_a_face_that_is_cut_away_is_not_found(find_face):
    alpha = torch.full((384, 384), 255, dtype=torch.uint8)
    alpha[:200] = 0
    assert find_face(shipped("astronaut", alpha=alpha)) is None


@pytest.mark.parametrize("name", ["coffee", "cat", "place_beach"])
def test_what_has_no_human_face_has_none(find_face, name):
    assert find_face(shipped(name)) is None


def test_a_large_picture_gives_its_face_in_its_own_pixels(find_face):
    small = shipped("astronaut")
    image = small.image.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
    face = find_face(Reference(name="large", kind="person", image=image))
    assert face is not None and 4 * 58 < face.height < 4 * 86


class Detector:
    """Counts how often it searches; finds one face wherever it looks."""

    def __init__(self):
        self.searched = 0

    def detectMultiScale(self, grey, *_words, **_named):  # noqa: N802  OpenCV's name
        self.searched += 1
        return [(2, 3, grey.shape[1] // 2, grey.shape[0] // 2)]


def test_the_face_of_a_picture_is_searched_for_once():
    import cv2

    detector = Detector()
    find = CascadeFaces(cv2, detector)
    first, second = shipped("astronaut"), shipped("cat")
    assert find(first) == find(shipped("astronaut")) is not None
    assert detector.searched == 1
    find(second)
    hidden = torch.zeros(first.image.shape[:2], dtype=torch.uint8)
    hidden[:200] = 255
    find(shipped("astronaut", alpha=hidden))
    assert detector.searched == 3


def test_only_so_many_faces_are_remembered():
    import cv2

    detector = Detector()
    find = CascadeFaces(cv2, detector)
    pictures = [
        Reference(name="one", kind="person", image=torch.full((8, 8, 3), value, dtype=torch.uint8))
        for value in range(256)
    ]
    for picture in [*pictures, shipped("cat"), pictures[255], pictures[0]]:
        find(picture)
    assert detector.searched == 258  # the first one made room
