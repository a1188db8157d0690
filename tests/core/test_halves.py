"""The network that tells whether either half of a place shows a subject, on puppets it has never seen."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors
import torch

from magref_core.evaluation import halves
from magref_core.evaluation.halves import (
    FILLED,
    SIDE,
    TURNS,
    compare,
    load_comparer,
    pair_of,
    thumbnail,
    views_of,
)
from scripts.training.half_pairs import draw_pairs

SEED = 7_654_321


@pytest.fixture(scope="module")
def drawn():
    """Pairs of frames that were not learned, what is so, and what the network says."""
    pairs, truth = [], []
    for number in range(160):
        some, right = draw_pairs(np.random.default_rng((SEED, number)))
        pairs += some
        truth += right
    told = compare([pair.astype(np.float32) / 255 for pair in pairs])
    return np.stack(pairs), np.array(truth), told


def share_right(drawn, chosen):
    _, truth, told = drawn
    return float(((told > 0.5) == (truth > 0.5))[chosen].mean())


def test_the_same_halves_and_others_are_told_apart(drawn):
    _, truth, _ = drawn
    same, half, other = (truth == 1).all(1), truth.sum(1) == 1, (truth == 0).all(1)
    assert min(same.sum(), half.sum(), other.sum()) > 30
    assert share_right(drawn, same) > 0.85
    assert share_right(drawn, half) > 0.85
    assert share_right(drawn, other) > 0.95


def test_a_darker_frame_changes_little(drawn):
    pairs, _, told = drawn
    frames = pairs[:60, :3].transpose(0, 2, 3, 1)
    dark = []
    for pair, frame in zip(pairs, frames, strict=False):
        picture = pair[3:].astype(np.float32).transpose(1, 2, 0) / 255
        rows, columns = (np.flatnonzero(picture[..., 3].max(axis)) for axis in (1, 0))
        picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = (rows[0], columns[0], picture.shape[0], picture.shape[1])
        dark.append(pair_of((frame * 0.7).astype(np.uint8), views_of(picture), tuple(map(float, box))))
    changed = (compare(dark) > 0.5) != (told[:60] > 0.5)
    assert changed.mean() < 0.1


def picture(height=60, width=30):
    """Red above, blue below, solid."""
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[: height // 2, :, 0] = pixels[height // 2 :, :, 2] = pixels[..., 3] = 1
    return pixels


def test_the_picture_lies_where_the_box_of_the_frame_does():
    frame = np.full((100, 160, 3), 128, np.uint8)
    frame[20:50, 40:70], frame[50:80, 40:70] = (255, 0, 0), (0, 0, 255)
    pair = pair_of(frame, views_of(picture()), (20, 40, 60, 30))
    assert pair.shape == (7, SIDE, SIDE) and pair.dtype == np.float32
    inside = pair[6] > 0.99
    assert inside.sum() == FILLED * FILLED // 2
    assert abs(pair[:3] - pair[3:6])[:, inside].mean() < 0.03
    np.testing.assert_allclose(pair[:3, ~inside & (pair[6] == 0)].mean(), 128 / 255, atol=0.05)


def test_the_picture_takes_the_light_of_the_frame_within_limits():
    frame = np.zeros((60, 60, 3), np.uint8)
    frame[..., 0], frame[30:, :, 2] = 178, 178
    frame[30:, :, 0] = 0
    pair = pair_of(frame, views_of(picture()), (0, 15, 60, 30))
    assert pair[3].max() == pytest.approx(0.7, abs=0.02)
    black = pair_of(np.zeros((60, 60, 3), np.uint8), views_of(picture()), (0, 15, 60, 30))
    assert black[3].max() == pytest.approx(halves.GAINS[0])


@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("side", [1, -1])
def test_the_picture_is_mirrored_and_turned_as_the_frame_shows_it(turn, side):
    drawn = picture()
    drawn[:10, :10] = (0, 1, 0, 1)  # so that no two views are the same
    views = views_of(drawn[:, ::side])
    own = 2 * turn + (0 if side == 1 else 1)
    seen = views_of(drawn).pictures[2 * turn]
    frame = np.rint(seen[..., :3] * 255).astype(np.uint8)
    pair = pair_of(frame, views, (4, 14, FILLED, FILLED // 2))
    np.testing.assert_allclose(pair[6], views.pictures[own][..., 3], atol=1e-6)
    assert abs(pair[:3] - pair[3:6]).max() < 0.05  # a turned edge is lit a little otherwise


@pytest.mark.parametrize(
    "box", [(-30.0, -20.0, 60.0, 30.0), (90.0, 150.0, 60.0, 30.0), (500.0, 0.0, 9.0, 9.0)]
)
def test_outside_of_the_frame_is_black(box):
    pair = pair_of(np.full((100, 160, 3), 200, np.uint8), views_of(picture()), box)
    assert (pair[:3] == 0).any() and np.isfinite(pair).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (500, 3), (1080, 1920)])
def test_pictures_of_any_size_are_made_small(shape):
    small = thumbnail(np.ones((*shape, 4), np.float32))
    assert max(small.shape[:2]) == FILLED and min(small.shape[:2]) >= 1
    assert pair_of(np.zeros((64, 96, 3), np.uint8), views_of(small), (0, 0, 40, 40)).shape == (7, SIDE, SIDE)


def test_nothing_is_compared_with_nothing():
    assert compare([]).shape == (0, 2)


def test_the_weights_are_few_and_in_half_precision():
    assert halves.WEIGHTS.stat().st_size < 300_000
    with safetensors.safe_open(str(halves.WEIGHTS), "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
        assert float(file.metadata()["frames"]) > 0
    assert next(load_comparer().parameters()).dtype == torch.float32
