"""Candidates on plain squares, whose answer is known."""

import itertools

import numpy as np
import pytest

from magref_core.evaluation.identity import (
    Search,
    best_assignment,
    candidate_costs,
    is_first,
    shows_each_once,
)

HEIGHT, WIDTH, NUM_FRAMES = 24, 48, 5
COLOURS = ((0.9, 0.1, 0.1), (0.1, 0.8, 0.2), (0.1, 0.2, 0.9))
SEARCH = Search(reach=3, scales=(0.9, 1.0), frames=(0, 2, 4))


def square(x, colour, scale=1.0):
    sprite = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    half = round(5 * scale)
    sprite[12 - half : 12 + half, x - half : x + half] = (*colour, 1)
    return sprite


def walk(start, speed, colour):
    """Frames of a square on grey."""
    sprites = np.stack([square(start + speed * time, colour) for time in range(NUM_FRAMES)])
    return np.rint((sprites[..., :3] + (1 - sprites[..., 3:]) * 0.5) * 255).astype(np.uint8)


@pytest.mark.parametrize("shown", range(3))
def test_the_candidate_in_the_video_costs_least_even_off_its_track(shown):
    video = walk(14, 4, COLOURS[shown])

    def render(candidate, frame, scale):
        return square(12 + 4 * frame, COLOURS[candidate], scale)

    costs = candidate_costs(video, render, 3, search=SEARCH)
    assert is_first(costs, shown) and costs[shown] < 0


def test_what_stands_in_front_tells_nothing():
    video = walk(14, 4, COLOURS[0])

    def render(candidate, frame, scale):
        return square(14 + 4 * frame, COLOURS[candidate], scale)

    def nothing(frame):
        return np.zeros((HEIGHT, WIDTH), np.float32)

    assert not candidate_costs(video, render, 3, search=SEARCH, visible=nothing).any()


def test_frames_taken_together_tell_ways_apart_and_single_frames_do_not():
    video = walk(14, 2, COLOURS[0])
    speeds = (2, 1)

    def render(candidate, frame, scale):
        return square(14 + speeds[candidate] * frame, COLOURS[0], scale)

    apart = Search(reach=4, scales=(1.0,), frames=(0, 2, 4))
    together = Search(reach=4, scales=(1.0,), frames=(0, 2, 4), together=True)
    costs = candidate_costs(video, render, 2, search=apart)
    assert costs[0] == pytest.approx(costs[1])
    assert is_first(candidate_costs(video, render, 2, search=together))


def test_a_draw_recognises_nobody():
    assert is_first(np.array([1.0, 2.0, 3.0]))
    assert not is_first(np.array([1.0, 1.0, 3.0]))
    assert is_first(np.array([3.0, 1.0]), 1)


def test_the_best_assignment_is_the_cheapest_of_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs = rng.random((3, 3))
        given = best_assignment(costs)
        assert sorted(given) == [0, 1, 2]
        total = sum(costs[index, choice] for index, choice in enumerate(given))
        others = (sum(costs[i, c] for i, c in enumerate(p)) for p in itertools.permutations(range(3)))
        assert total == pytest.approx(min(others))


def test_two_subjects_that_show_one_candidate_do_not_show_each_once():
    assert shows_each_once(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert shows_each_once(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert not shows_each_once(np.array([[0.0, 1.0], [0.5, 0.9]]))
