"""Subjects set apart by a closed edge."""

import numpy as np
import pytest

from magref_core.segmentation.contours import colour_steps, find_candidates, smooth_lab, without_holes
from magref_core.segmentation.fences import fenced_parts


def motley(height=150, width=200, *, seed=0):
    """Patches of many dull colours all over, whose edges are everywhere and weak."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(105, 135, (height // 25, width // 25, 3))
    return np.kron(patches, np.ones((25, 25, 1))).astype(np.uint8)


def figure(height=150, width=200, *, bottom=False):
    """A disc of two colours inside a dark outline, in the middle or cut off by the lower edge."""
    picture = motley(height, width)
    y, x = np.mgrid[:height, :width]
    centre = height - 20 if bottom else height / 2
    distance = np.hypot(x - width / 2, y - centre)
    subject = distance < 45
    picture[subject] = (20, 20, 25)
    picture[(distance < 41) & (x < width / 2)] = (240, 220, 90)
    picture[(distance < 41) & (x >= width / 2)] = (230, 90, 160)
    return picture, subject


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("bottom", [False, True])
def test_a_figure_of_several_colours_before_a_motley_ground_is_a_candidate(bottom):
    picture, subject = figure(bottom=bottom)
    assert max(overlap(mask, subject) for mask in find_candidates(picture)) > 0.8  # perhaps without its rim


def test_what_a_thin_line_encloses_is_a_candidate_though_its_colour_is_that_of_the_ground():
    """The line alone is too small for a candidate; what counts is what it encloses."""
    picture = np.full((150, 200, 3), 180, np.uint8)
    y, x = np.mgrid[:150, :200]
    distance = np.hypot(x - 100, y - 75)
    picture[(distance < 25) & (distance > 23)] = (20, 20, 25)
    assert ((distance < 25) & (distance > 23)).mean() < 0.04
    assert max(overlap(mask, distance < 25) for mask in find_candidates(picture)) > 0.85


def test_candidates_are_distinct_without_holes_and_neither_tiny_nor_all():
    picture, _ = figure()
    found = find_candidates(picture)
    assert found and len({mask.tobytes() for mask in found}) == len(found)
    assert all((without_holes(mask) == mask).all() and 0.04 < mask.mean() < 0.85 for mask in found)


def fenced(picture):
    return fenced_parts(colour_steps(smooth_lab(picture)))


@pytest.mark.parametrize("bottom", [False, True])
def test_what_a_strong_line_fences_in_is_found_to_about_a_pixel(bottom):
    picture, subject = figure(bottom=bottom)
    assert max(overlap(mask, subject) for mask in fenced(picture)) > 0.9


def test_a_gap_in_the_fence_lets_the_ground_in():
    """The colour inside is that of the ground, so only the line tells them apart."""
    picture = np.full((150, 200, 3), 180, np.uint8)
    y, x = np.mgrid[:150, :200]
    distance = np.hypot(x - 100, y - 75)
    picture[(distance < 45) & (distance > 41)] = (20, 20, 25)
    whole = max(mask.mean() for mask in fenced(picture))
    picture[:75, 90:110] = 180
    assert max((mask.mean() for mask in fenced(picture)), default=0) < 0.5 * whole


def test_an_appendage_that_is_thin_is_taken_off_once():
    picture, subject = figure()
    picture[70:78, 140:] = (20, 20, 25)  # a dark bar from the figure to the border and beyond
    picture[70:78, 190:] = 120
    found = [mask for mask in fenced(picture) if overlap(mask, subject) > 0.8]
    assert any(mask[74, 180] for mask in found) and any(not mask[74, 180] for mask in found)


def test_a_picture_without_edges_has_no_candidate():
    assert find_candidates(np.full((40, 60, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 90), (16, 16)])
def test_tiny_pictures_do_not_fail(shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    assert isinstance(find_candidates(noise), list)


def test_enclosed_places_are_filled_and_open_ones_are_not():
    ring = np.zeros((9, 9), np.bool_)
    ring[2:7, 2:7] = True
    ring[4, 4] = False
    bay = ring.copy()
    bay[4, 4:] = False
    assert without_holes(ring)[4, 4]
    assert not without_holes(bay)[4, 4]
