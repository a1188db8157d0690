"""Even change is smooth, flicker is not."""

import numpy as np
import pytest

from magref_core.evaluation.smoothness import roughness

EVERYWHERE = np.ones((6, 4, 4), bool)


def levels(values):
    return np.array(values, np.uint8)[:, None, None, None] + np.zeros((1, 4, 4, 3), np.uint8)


def test_a_still_and_an_evenly_brightening_picture_are_smooth():
    assert roughness(levels([50] * 6), EVERYWHERE) == 0
    assert roughness(levels([50, 60, 70, 80, 90, 100]), EVERYWHERE) == 0


def test_flicker_is_told_in_grey_levels():
    assert roughness(levels([50, 60] * 3), EVERYWHERE) == pytest.approx(20)


def test_only_marked_pixels_count():
    frames = levels([50, 60] * 3)
    frames[:, :2] = 50
    calm, rough = np.zeros((2, 6, 4, 4), bool)
    calm[:, :2], rough[:, 2:] = True, True
    assert roughness(frames, calm) == 0
    assert roughness(frames, rough) == pytest.approx(20)
    assert roughness(frames, np.zeros_like(calm)) == 0
