"""How much a mask looks like the figure of its picture."""

import numpy as np
import pytest

from magref_core.segmentation.grading import WEIGHTS, Scene, cues, grade, scene_of, worth

GROUND, FIGURE = (120, 128, 128), (200, 128, 128)
FLAT = np.full((100, 120, 3), 128, np.uint8)


def disc(*, x: float = 60, y: float = 55, radius: float = 25) -> np.ndarray:
    """(100, 120) bool."""
    rows, columns = np.mgrid[:100, :120]
    return np.hypot(columns - x, rows - y) < radius


def scene(figure: np.ndarray, colour: tuple[int, int, int] = FIGURE, *, image: np.ndarray = FLAT) -> Scene:
    lab = np.full((*figure.shape, 3), GROUND, np.uint8)
    lab[figure] = colour
    return scene_of(image, lab)


def test_every_weight_belongs_to_a_cue():
    assert set(WEIGHTS) == set(cues(disc(), scene(disc())))


def test_the_figure_is_graded_above_its_half_its_surroundings_and_another_place():
    figure = disc()
    half = figure & (np.arange(120) < 60)
    others = [half, disc(radius=40), disc(x=90), figure ^ disc(x=75)]
    best = grade(figure, scene(figure))
    assert all(best > grade(other, scene(figure)) for other in others)


def test_the_step_is_all_where_colours_differ_much_and_none_where_they_are_equal():
    figure = disc()
    assert cues(figure, scene(figure))["step"] == 1.0
    assert cues(figure, scene(figure, GROUND))["step"] == 0.0
    assert cues(figure, scene(figure, (140, 128, 128)))["step"] == pytest.approx(0.5)


def test_the_side_of_an_outline_does_not_depend_on_the_way_it_is_traced():
    """A dark rim inside the figure is seen, and one outside of the mask is not taken for it."""
    lab = np.full((100, 120, 3), GROUND, np.uint8)
    lab[disc()] = FIGURE
    lab[disc() & ~disc(radius=21)] = (20, 128, 128)
    for turned in (lab, lab[:, ::-1], lab[::-1]):
        mask = turned[..., 0] != 120
        assert cues(mask, scene_of(FLAT, np.ascontiguousarray(turned)))["step"] == 1.0


def test_a_ground_of_one_colour_is_not_motley_and_one_of_two_is():
    figure = disc()
    lab = np.full((100, 120, 3), GROUND, np.uint8)
    lab[:, :60] = (40, 128, 128)
    lab[figure] = FIGURE
    assert cues(figure, scene(figure))["motley"] == 0.0
    assert cues(figure, scene_of(FLAT, lab))["motley"] > 0.4


def test_colours_are_common_if_they_lie_on_both_sides():
    figure = disc()
    assert cues(figure, scene(figure))["common_colours"] < 0.05
    assert cues(figure, scene(figure, GROUND))["common_colours"] == pytest.approx(1.0, abs=1e-6)


def test_detail_counts_where_the_picture_is_rich_in_it():
    figure = disc()
    rough = FLAT.copy()
    rough[figure] = np.random.default_rng(0).integers(0, 255, (int(figure.sum()), 3))
    assert cues(figure, scene(figure, image=rough))["detail"] > 1
    assert cues(figure, scene(figure, image=FLAT))["detail"] == pytest.approx(0)
    elsewhere = disc(x=25, radius=15) & ~figure
    assert cues(elsewhere, scene(figure, image=rough))["detail"] < -1


def test_a_shape_and_its_mirror_image_agree_and_half_of_one_does_not():
    figure = disc()
    lopsided = figure & ((np.arange(120) < 60) | (np.arange(100)[:, None] > 55))
    assert cues(figure, scene(figure))["symmetry"] > 0.9
    assert cues(lopsided, scene(figure))["symmetry"] < 0.8


def test_place_and_raggedness_are_told():
    figure, sliver = disc(), disc() & ~disc(x=70)
    middle, side = cues(figure, scene(figure)), cues(disc(x=100), scene(figure))
    assert middle["nearness"] > side["nearness"]
    assert cues(sliver, scene(figure))["ragged"] > middle["ragged"]
    assert middle["log_area"] == pytest.approx(np.log(figure.mean()))


def test_the_border_of_the_picture_is_no_edge_of_the_figure():
    cut = disc(y=95)
    assert cues(cut, scene(cut))["step"] == 1.0


@pytest.mark.parametrize("mask", [np.zeros((100, 120), np.bool_), np.ones((100, 120), np.bool_)])
def test_a_mask_without_an_outline_inside_the_picture_is_the_least(mask):
    assert cues(mask, scene(disc())) == {}
    assert grade(mask, scene(disc())) == -np.inf


def test_reaching_the_border_costs_except_where_a_subject_may_be_cut_off():
    figure = disc()
    picture = scene(figure)
    for mask in (figure, disc(y=95), disc(x=119, y=90, radius=12)):
        assert worth(mask, picture) == grade(mask, picture)
    touching, more = disc(y=20), disc(x=119, y=40)
    assert worth(touching, picture) < grade(touching, picture) - 0.5
    assert worth(more, picture) < grade(more, picture) - 1.5
    assert worth(np.zeros_like(figure), picture) == -np.inf
