"""The costs of sprites against a pixel by pixel oracle."""

import numpy as np
import pytest

from magref_core.errors import ShapeError
from magref_core.evaluation.matching import BACKGROUND_ERROR, match_costs


def draw_sprites(rng, count, height, width):
    """Sprites that leave a border empty, premultiplied."""
    sprites = np.zeros((count, height, width, 4), np.float32)
    alpha = rng.random((count, height - 4, width - 4, 1)) * (
        rng.random((count, height - 4, width - 4, 1)) < 0.7
    )
    sprites[:, 2:-2, 2:-2] = np.concatenate([rng.random((*alpha.shape[:3], 3)) * alpha, alpha], 3)
    return sprites


def slow_cost(frame, sprite, down, right, visible):
    """One sprite moved by whole pixels; what leaves the frame tells nothing."""
    height, width = frame.shape[:2]
    cost = 0.0
    for y in range(height):
        for x in range(width):
            alpha = float(sprite[y, x, 3])
            if alpha == 0 or not (0 <= y + down < height and 0 <= x + right < width):
                continue
            colour = sprite[y, x, :3] / alpha
            error = float(((frame[y + down, x + right] / 255 - colour) ** 2).sum())
            cost += float(visible[y + down, x + right]) * alpha * (error - BACKGROUND_ERROR)
    return cost


@pytest.mark.parametrize("seed", [0, 1])
def test_costs_are_those_of_every_pixel_of_the_moved_sprite(seed):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    sprites, visible = draw_sprites(rng, 3, 9, 12), rng.random((9, 12)).astype(np.float32)
    costs = match_costs(frame, sprites, (2, 3), visible=visible)
    expected = [
        [[slow_cost(frame, sprite, down, right, visible) for right in range(-3, 4)] for down in range(-2, 3)]
        for sprite in sprites
    ]
    np.testing.assert_allclose(costs, expected, rtol=0, atol=1e-4)


def square(size, colour, height=24, width=32):
    """A square in the middle."""
    sprite = np.zeros((height, width, 4), np.float32)
    top, left = (height - size) // 2, (width - size) // 2
    sprite[top : top + size, left : left + size] = (*colour, 1)
    return sprite


def lay(sprite, level=0.5):
    """The sprite over plain grey."""
    picture = sprite[..., :3] + (1 - sprite[..., 3:]) * level
    return np.rint(picture * 255).astype(np.uint8)


def test_neither_a_smaller_nor_a_larger_sprite_beats_the_true_one():
    red = (0.9, 0.1, 0.1)
    sprites = np.stack([square(size, red) for size in (6, 10, 14)])
    for shown in range(3):
        costs = match_costs(lay(sprites[shown]), sprites, (4, 4)).reshape(3, -1).min(1)
        assert costs.argmin() == shown and costs[shown] < 0


def test_a_shift_is_found_and_what_is_hidden_does_not_count():
    sprite = square(10, (0.1, 0.2, 0.9))
    moved = np.roll(sprite, (2, -3), (0, 1))
    frame = lay(moved)
    costs = match_costs(frame, sprite[None], (4, 4))[0]
    assert np.unravel_index(costs.argmin(), costs.shape) == (4 + 2, 4 - 3)
    assert match_costs(frame, sprite[None], (4, 4), visible=np.zeros((24, 32), np.float32)).max() == 0


def test_sprites_out_of_the_frame_cost_nothing():
    assert not match_costs(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 4), np.float32), (1, 2)).any()


def test_sprites_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"sprites are \(1, 8, 9, 4\).*frame is \(8, 8, 3\)"):
        match_costs(np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 9, 4), np.float32), (1, 1))
