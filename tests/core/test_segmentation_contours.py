"""Subjects set apart by a closed edge."""

import numpy as np
import pytest

from magref_core.segmentation.contours import find_candidates, judge, without_holes


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


@pytest.mark.parametrize("bottom", [False, True])
def test_a_figure_of_several_colours_before_a_motley_ground_is_the_best_candidate(bottom):
    picture, subject = figure(bottom=bottom)
    best = find_candidates(picture)[0]
    assert (best.mask & subject).sum() / (best.mask | subject).sum() > 0.8  # perhaps without the outline
    assert best.support > 0.95


def test_candidates_are_sorted_distinct_and_without_holes():
    picture, _ = figure()
    found = find_candidates(picture)
    scores = [candidate.score for candidate in found]
    assert scores == sorted(scores, reverse=True)
    assert len({candidate.mask.tobytes() for candidate in found}) == len(found)
    assert all((without_holes(candidate.mask) == candidate.mask).all() for candidate in found)


def test_a_picture_without_edges_has_no_candidate():
    assert find_candidates(np.full((40, 60, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (3, 90), (16, 16)])
def test_tiny_pictures_do_not_fail(shape):
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    assert isinstance(find_candidates(noise), list)


def test_support_is_the_share_of_the_edge_where_colour_steps():
    steps = np.zeros((40, 40), np.float32)
    steps[:, :20] = 50
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 10:30] = True
    assert 0.4 < judge(mask, steps).support < 0.6
    assert judge(np.ones((40, 40), np.bool_), steps).score == -np.inf


def test_enclosed_places_are_filled_and_open_ones_are_not():
    ring = np.zeros((9, 9), np.bool_)
    ring[2:7, 2:7] = True
    ring[4, 4] = False
    bay = ring.copy()
    bay[4, 4:] = False
    assert without_holes(ring)[4, 4]
    assert not without_holes(bay)[4, 4]
