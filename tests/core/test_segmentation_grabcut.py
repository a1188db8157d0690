"""Cutting out without weights, on drawn scenes whose subject is known."""

import sys

import cv2
import numpy as np
import pytest
import torch

from magref_core.canvas.references import Kind, Reference
from magref_core.errors import MagrefError
from magref_core.segmentation import grabcut
from magref_core.segmentation.contours import find_candidates
from magref_core.segmentation.cutout import cut_out
from magref_core.segmentation.edges import refine_edges
from magref_core.segmentation.grabcut import GrabCut
from magref_core.segmentation.priors import find_face

SKIN = {"light": (224, 172, 140), "brown": (141, 85, 54), "dark": (84, 50, 36)}


def textured(colour, *, height: int, width: int, grain: float = 12, seed: int = 0) -> np.ndarray:
    """A rough surface: noise and a slope of brightness."""
    generator = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(generator.normal(0, 4 * grain, (height, width, 3)), (0, 0), 3)
    slope = np.linspace(-20, 20, width)[None, :, None]
    return np.clip(np.array(colour) + rough + slope, 0, 255).astype(np.uint8)


def ellipse(*, height: int, width: int, centre, axes) -> np.ndarray:
    """(H, W) bool."""
    y, x = np.mgrid[:height, :width]
    return ((x - centre[0] * width) / (axes[0] * width)) ** 2 + (
        (y - centre[1] * height) / (axes[1] * height)
    ) ** 2 < 1


def rough_ground(*, height: int, width: int) -> np.ndarray:
    return textured((90, 110, 60), height=height, width=width)


def horizon(*, height: int, width: int) -> np.ndarray:
    """Sky above grass."""
    picture = textured((120, 160, 210), height=height, width=width)
    grass = slice(height * 4 // 7, None)
    picture[grass] = textured((90, 120, 50), height=height, width=width, seed=4)[grass]
    return picture


def stripes(*, height: int, width: int) -> np.ndarray:
    """Nine bands of four colours, like a shelf of books."""
    picture = np.empty((height, width, 3), np.uint8)
    colours = [(150, 165, 170), (60, 110, 120), (200, 200, 150), (110, 140, 90)]
    for index in range(9):
        band = slice(index * width // 9, (index + 1) * width // 9)
        picture[:, band] = textured(colours[index % 4], height=height, width=width, seed=index)[:, band]
    return picture


def draw_object(ground=rough_ground, *, height: int = 300, width: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """A red ball, not quite in the middle."""
    picture = ground(height=height, width=width)
    subject = ellipse(height=height, width=width, centre=(0.46, 0.55), axes=(0.2, 0.28))
    picture[subject] = textured((190, 40, 30), height=height, width=width, seed=1)[subject]
    return picture, subject


def draw_person(skin, *, height: int = 400, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Head, hair and shoulders before a motley wall, left of the middle."""
    picture = stripes(height=height, width=width)
    hair = ellipse(height=height, width=width, centre=(0.42, 0.28), axes=(0.17, 0.2))
    face = ellipse(height=height, width=width, centre=(0.42, 0.32), axes=(0.13, 0.17))
    body = ellipse(height=height, width=width, centre=(0.42, 1.0), axes=(0.36, 0.5))
    for part, colour, seed in ((body, (40, 60, 150), 1), (hair, (60, 40, 25), 2), (face, skin, 3)):
        picture[part] = textured(colour, height=height, width=width, grain=5, seed=seed)[part]
    return picture, hair | face | body


def cut(picture: np.ndarray, kind: Kind, *, alpha: np.ndarray | None = None):
    own = None if alpha is None else torch.as_tensor(alpha)
    reference = Reference(name="x", kind=kind, image=torch.as_tensor(picture), alpha=own)
    return cut_out(reference, GrabCut())


def overlap(alpha: torch.Tensor | None, subject: np.ndarray) -> float:
    """Intersection over union."""
    assert alpha is not None
    found = alpha.numpy() >= 128
    return (found & subject).sum() / (found | subject).sum()


@pytest.mark.parametrize("ground", [rough_ground, horizon, stripes])
def test_an_object_is_cut_out_of_rough_and_motley_grounds(ground):
    picture, subject = draw_object(ground)
    reference, warnings = cut(picture, "object")
    assert overlap(reference.alpha, subject) > 0.93
    assert warnings == ()


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (40, 160, 60)])
def test_an_object_on_a_plain_ground_is_cut_out_wherever_it_is(colour):
    picture = np.full((300, 400, 3), colour, np.uint8)
    subject = ellipse(height=300, width=400, centre=(0.2, 0.3), axes=(0.13, 0.2))
    picture[subject] = (190, 90, 130)
    assert overlap(cut(picture, "object")[0].alpha, subject) > 0.97


def test_parts_of_an_object_in_the_colour_of_a_plain_ground_are_kept():
    picture = np.full((300, 300, 3), 255, np.uint8)
    subject = ellipse(height=300, width=300, centre=(0.5, 0.5), axes=(0.3, 0.3))
    picture[subject] = (60, 60, 160)
    picture[ellipse(height=300, width=300, centre=(0.55, 0.5), axes=(0.05, 0.05))] = 255
    assert overlap(cut(picture, "object")[0].alpha, subject) > 0.97


@pytest.mark.parametrize("skin", SKIN)
def test_a_person_is_cut_out_with_hair_and_shoulders(skin):
    picture, subject = draw_person(SKIN[skin])
    assert overlap(cut(picture, "person")[0].alpha, subject) > 0.93


@pytest.mark.parametrize("skin", SKIN)
def test_a_face_is_found_by_its_skin(skin):
    picture, _ = draw_person(SKIN[skin])
    face = find_face(picture)
    assert face is not None
    assert abs(face.x - 0.42) < 0.03 and abs(face.y - 0.32) < 0.06
    assert 0.09 < face.half_width < 0.2


def test_no_face_is_found_where_there_is_no_skin():
    assert find_face(np.full((200, 300, 3), (90, 110, 60), np.uint8)) is None


def test_a_person_without_visible_skin_is_still_found_roughly():
    picture, subject = draw_person((60, 160, 90))
    assert overlap(cut(picture, "person")[0].alpha, subject) > 0.7


def test_an_object_that_reaches_the_edges_of_the_picture_is_kept_whole():
    """It cannot stand alone, so the cut-out that supposes this must not win."""
    picture = textured((160, 150, 140), height=300, width=400)
    subject = ellipse(height=300, width=400, centre=(0.3, 0.7), axes=(0.6, 0.7))
    picture[subject] = textured((150, 120, 90), height=300, width=400, seed=1)[subject]
    assert overlap(cut(picture, "object")[0].alpha, subject) > 0.95


def test_small_holes_that_grabcut_leaves_are_filled_and_large_ones_are_not(monkeypatch):
    picture, _ = draw_person(SKIN["light"])
    odd = (255, 0, 255)
    picture[ellipse(height=400, width=320, centre=(0.5, 0.8), axes=(0.02, 0.02))] = odd
    picture[ellipse(height=400, width=320, centre=(0.3, 0.85), axes=(0.09, 0.09))] = odd
    grab_cut = cv2.grabCut

    def leave_holes(image, labels, *rest):
        grab_cut(image, labels, *rest)
        labels[(np.abs(image.astype(int) - odd).max(-1) < 40)] = cv2.GC_BGD

    monkeypatch.setattr(cv2, "grabCut", leave_holes)
    monkeypatch.setattr(grabcut, "find_candidates", lambda _image: [])  # of which none has holes
    alpha = cut(picture, "person")[0].alpha
    assert alpha is not None
    assert alpha[320, 160] == 255
    assert alpha[340, 96] == 0


def draw_penguin(*, height: int = 360, width: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """An outlined figure with a large belly, before shelves of things as bright as itself."""
    picture = stripes(height=height, width=width)
    for row, column in ((0.12, 0.12), (0.2, 0.85), (0.8, 0.1), (0.7, 0.9)):
        thing = ellipse(height=height, width=width, centre=(column, row), axes=(0.09, 0.11))
        picture[thing] = textured((230, 190, 40), height=height, width=width, grain=3)[thing]
    subject = ellipse(height=height, width=width, centre=(0.52, 0.55), axes=(0.22, 0.36))
    picture[subject] = (25, 22, 35)
    picture[ellipse(height=height, width=width, centre=(0.52, 0.55), axes=(0.2, 0.34))] = (245, 240, 225)
    picture[ellipse(height=height, width=width, centre=(0.52, 0.66), axes=(0.13, 0.2))] = (40, 90, 200)
    return picture, subject


@pytest.mark.parametrize("kind", ["person", "object"])
def test_an_outlined_figure_of_several_colours_is_cut_out_whatever_its_kind(kind):
    picture, subject = draw_penguin()
    assert overlap(cut(picture, kind)[0].alpha, subject) > 0.95


def test_enclosed_parts_that_hardly_look_like_figures_do_not_replace_the_outline_of_the_kind(monkeypatch):
    picture, subject = draw_object()
    monkeypatch.setattr(grabcut, "find_candidates", lambda _image: [])
    outline = cut(picture, "object")[0].alpha
    rows, columns = np.mgrid[:288, :384]
    patch = np.hypot(columns - 300, rows - 60) < 45  # of the ground: it has no edge
    monkeypatch.setattr(grabcut, "find_candidates", lambda _image: [patch])
    assert overlap(outline, subject) > 0.93
    assert torch.equal(cut(picture, "object")[0].alpha, outline)


def test_a_part_that_is_clearly_better_than_the_outline_of_the_kind_replaces_it(monkeypatch):
    monkeypatch.setattr(grabcut, "LEAST_GRADE", 100.0)  # nothing is surely a figure
    picture, subject = draw_penguin()
    assert overlap(cut(picture, "person")[0].alpha, subject) > 0.95


def test_the_outline_of_the_kind_stands_where_edges_set_nothing_apart():
    """Two colours that flow into one another: nothing has an edge, but the middle differs."""
    y, x = np.mgrid[:300, :400]
    share = 1 / (1 + np.exp((np.hypot((x - 200) / 1.2, y - 150) - 80) / 14))[..., None]
    picture = (np.array((200, 60, 40)) * share + np.array((60, 90, 110)) * (1 - share)).astype(np.uint8)
    assert find_candidates(picture) == []
    assert overlap(cut(picture, "object")[0].alpha, share[..., 0] > 0.5) > 0.7


def test_a_background_stays_whole():
    picture, _ = draw_object()
    reference, warnings = cut(picture, "background")
    assert reference.alpha is None and warnings == ()


def test_transparent_parts_of_the_file_stay_out():
    picture, subject = draw_object()
    alpha = np.full(subject.shape, 255, np.uint8)
    alpha[:, : subject.shape[1] // 2] = 0
    reference, _ = cut(picture, "object", alpha=alpha)
    assert reference.alpha is not None and not reference.alpha[alpha == 0].any()
    assert overlap(reference.alpha, subject & (alpha > 0)) > 0.9


def test_the_same_picture_gives_the_same_cut_out_whatever_was_drawn_before():
    generator = np.random.default_rng(0)
    clouds = cv2.GaussianBlur(generator.normal(0, 1, (300, 400, 3)), (0, 0), 12)
    picture = np.clip(128 + 45 * clouds / clouds.std(), 0, 255).astype(np.uint8)
    cut_outs = []
    for state in (0, 1, 12345):
        cv2.setRNGSeed(state)
        cut_outs.append(cut(picture, "object")[0].alpha)
    assert torch.equal(cut_outs[0], cut_outs[1]) and torch.equal(cut_outs[0], cut_outs[2])


def test_a_large_picture_is_segmented_small_and_its_edge_is_refined_at_full_size(monkeypatch):
    sizes = []
    grab_cut = cv2.grabCut

    def spy(image, *rest):
        sizes.append(image.shape[:2])
        return grab_cut(image, *rest)

    monkeypatch.setattr(cv2, "grabCut", spy)
    picture, subject = draw_object(height=1500, width=2000)
    alpha = cut(picture, "object")[0].alpha
    assert sizes[0] == (288, 384)
    assert all(height <= 288 and width <= 384 for height, width in sizes)
    assert overlap(alpha, subject) > 0.93


def test_an_edge_follows_the_colours_of_the_large_picture():
    """A step that falls within a pixel of the small picture is found to a pixel of the large one."""
    large = torch.full((160, 160, 3), 30, dtype=torch.uint8)
    large[:, 83:] = 220
    small = torch.as_tensor(cv2.resize(large.numpy(), (20, 20), interpolation=cv2.INTER_AREA))
    mask = torch.zeros(20, 20, dtype=torch.uint8)
    mask[:, 10:] = 255  # 80 in the large picture
    refined = refine_edges(mask, small, large)
    assert (refined[:, :83] < 128).all() and (refined[:, 83:] >= 128).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 900), (900, 3), (16, 16)])
def test_tiny_and_thin_pictures_do_not_fail(height, width):
    picture = textured((90, 110, 60), height=height, width=width)
    for kind in ("person", "object"):
        alpha = cut(picture, kind)[0].alpha
        assert alpha is None or alpha.shape == (height, width)


@pytest.mark.parametrize("kind", ["person", "object"])
def test_a_picture_of_one_colour_gives_a_warning_or_a_cut_out_but_never_an_empty_one(kind):
    reference, warnings = cut(np.full((100, 100, 3), 128, np.uint8), kind)
    assert warnings or (reference.alpha is not None and (reference.alpha >= 128).any())


def test_a_missing_opencv_is_named(monkeypatch):
    picture, _ = draw_object()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(
        MagrefError, match=r"needs OpenCV, .*: install opencv-python, or connect a mask instead"
    ):
        cut(picture, "object")
