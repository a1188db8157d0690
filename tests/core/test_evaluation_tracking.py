"""A moving square is followed."""

import numpy as np
import pytest

from magref_core.evaluation.tracking import direction_of_track, locate

HEIGHT, WIDTH = 32, 64


def disc(x, y):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    alpha = (((rows - y) ** 2 + (columns - x) ** 2) < 49).astype(np.float32)[..., None]
    return np.concatenate([alpha * (0.9, 0.2, 0.1), alpha], 2).astype(np.float32)


def show(sprite, rng):
    """The sprite over noise."""
    ground = rng.uniform(0.3, 0.6, (HEIGHT, WIDTH, 3))
    return np.rint((sprite[..., :3] + (1 - sprite[..., 3:]) * ground) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("start", "end", "direction"), [(16, 46, "right"), (46, 16, "left"), (30, 33, "none")]
)
def test_the_way_is_followed_to_two_pixels(start, end, direction):
    rng = np.random.default_rng(0)
    places = np.linspace(start, end, 9)
    frames = np.stack([show(disc(x, 18), rng) for x in places])
    found = locate(frames, disc(32, 16)[None], (6, 20))
    assert np.abs(found[:, 1] - (places - 32)).max() <= 2
    assert np.abs(found[:, 0] - 2).max() <= 2
    assert (found[:, 2] < 0).all()
    assert direction_of_track((32 + found[:, 1]) / WIDTH) == direction


def test_the_best_of_several_views_counts():
    rng = np.random.default_rng(1)
    frames = show(disc(36, 16), rng)[None]
    blue = disc(32, 16)[..., [2, 1, 0, 3]]
    both, wrong = (locate(frames, np.stack(views), (2, 8)) for views in ((blue, disc(32, 16)), (blue,)))
    assert both[0, 1] == 4 and both[0, 2] < wrong[0, 2]
