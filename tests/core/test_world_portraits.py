"""Portraits show the same puppet on another occasion."""

import numpy as np
import pytest

from magref_core.errors import MagrefError
from magref_core.world.identity import CATEGORIES, draw_identity
from magref_core.world.places import PLACES, draw_place, paint_place
from magref_core.world.portraits import portrait, view_of_place
from magref_core.world.pose import Pose
from magref_core.world.puppets import draw_puppet


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_portrait_is_cropped_to_its_exact_alpha(category):
    rng = np.random.default_rng(0)
    for _ in range(5):
        picture = portrait(draw_identity(category, rng), rng, size=64)
        assert picture.dtype == np.uint8
        alpha = picture[..., 3]
        assert alpha[0].any() and alpha[-1].any() and alpha[:, 0].any() and alpha[:, -1].any()
        assert not picture[alpha == 0].any()
        assert max(picture.shape[:2]) <= 80
        assert (alpha == 255).mean() > 0.2


def test_the_same_seed_gives_the_same_portrait_and_another_seed_another():
    identity = draw_identity("witch", np.random.default_rng(0))
    first, again, other = (portrait(identity, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_a_plain_portrait_is_the_standing_puppet_and_draws_nothing():
    identity = draw_identity("robot", np.random.default_rng(0))
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    picture = portrait(identity, rng, size=96, plain=True)
    assert rng.bit_generator.state == before
    sprite = draw_puppet(identity, Pose(), 96)
    rows, columns = sprite[..., 3].any(1), sprite[..., 3].any(0)
    sprite = sprite[rows][:, columns].astype(int)
    assert np.array_equal(picture[..., 3], sprite[..., 3])
    again = np.rint(picture[..., :3] * (picture[..., 3:] / 255.0))
    assert np.abs(again - sprite[..., :3]).max() <= 1


def test_a_tiny_portrait_is_refused():
    with pytest.raises(MagrefError, match="8 pixels is too small: give at least 16"):
        portrait(draw_identity("cat", np.random.default_rng(0)), np.random.default_rng(0), size=8)


@pytest.mark.parametrize("word", PLACES)
def test_a_view_of_a_place_is_like_it_and_not_equal(word):
    rng = np.random.default_rng(0)
    place = draw_place(rng, word)
    view = view_of_place(place, rng, 64, 96)
    assert view.shape == (64, 96, 3)
    difference = np.abs(view.astype(int) - paint_place(place, 64, 96)).mean()
    assert 0 < difference < 90
