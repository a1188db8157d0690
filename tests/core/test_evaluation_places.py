"""Backgrounds of bands and blocks, under another light and in other colours."""

import numpy as np

from magref_core.evaluation.places import layout_costs, place_costs

SIZE = (64, 96, 3)


def draw_place(rng):
    """A few blocks in random colours."""
    picture = np.full(SIZE, rng.integers(40, 220, 3), np.uint8)
    for _ in range(4):
        top, left = rng.integers(0, 40), rng.integers(0, 60)
        picture[top : top + 24, left : left + 36] = rng.integers(40, 220, 3)
    return picture


def with_subject(picture):
    """Two frames with a subject, and where it is not."""
    frames = np.stack([picture, picture])
    frames[:, 20:60, 30:60] = (255, 0, 255)
    outside = np.ones(frames.shape[:3], bool)
    outside[:, 20:60, 30:60] = False
    return frames, outside


def test_the_true_place_is_found_under_another_light():
    rng = np.random.default_rng(0)
    for _ in range(5):
        places = [draw_place(rng) for _ in range(4)]
        frames, outside = with_subject((places[2] * 0.7).astype(np.uint8))
        costs = place_costs(frames, outside, np.stack(places)[:, None, None].repeat(2, 2))
        assert costs.argmin() == 2 and costs[2] < 0.01


def test_the_best_position_counts():
    rng = np.random.default_rng(1)
    true, other = draw_place(rng), draw_place(rng)
    frames, outside = with_subject(np.roll(true, 8, 1))
    views = np.stack([[np.roll(place, shift, 1) for shift in (0, 8)] for place in (true, other)])
    both = place_costs(frames, outside, views[:, :, None].repeat(2, 2))
    one = place_costs(frames, outside, views[:, :1, None].repeat(2, 2))
    assert both[0] < 0.001 < one[0]


def test_a_layout_is_found_in_other_colours():
    rng = np.random.default_rng(2)
    places = [draw_place(rng) for _ in range(6)]
    recoloured = places[4][..., ::-1] * np.array([0.5, 0.9, 0.7])
    frames, outside = with_subject(recoloured.astype(np.uint8))
    costs = layout_costs(frames, outside, np.stack(places))
    assert costs.argmin() == 4 and costs[4] < 0.02
    assert (np.delete(costs, 4) > 0.1).all()


def test_subjects_do_not_count():
    rng = np.random.default_rng(3)
    place = draw_place(rng)
    frames, outside = with_subject(place)
    assert place_costs(frames, outside, place[None, None, None].repeat(2, 2))[0] < 1e-6
    assert place_costs(frames, np.ones_like(outside), place[None, None, None].repeat(2, 2))[0] > 0.05
