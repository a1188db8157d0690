"""Places have an identity, go on beyond the frame, and may be photos."""

import numpy as np
import pytest

from magref_core.errors import MagrefError
from magref_core.world.places import PHOTO, PLACES, draw_place, paint_place, place_of_photo


@pytest.mark.parametrize("word", PLACES)
def test_a_place_is_painted_alike_each_time_and_unlike_another_of_its_word(word):
    rng = np.random.default_rng(0)
    first, second = draw_place(rng, word), draw_place(rng, word)
    picture = paint_place(first, 64, 96)
    assert picture.shape == (64, 96, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, paint_place(first, 64, 96))
    assert np.abs(picture.astype(int) - paint_place(second, 64, 96)).mean() > 3


@pytest.mark.parametrize("word", PLACES)
def test_a_place_is_pale(word):
    rng = np.random.default_rng(1)
    assert min(paint_place(draw_place(rng, word), 64, 96).min() for _ in range(5)) >= 95


def test_a_camera_moves_the_view():
    place = draw_place(np.random.default_rng(0), "street")
    still, right = paint_place(place, 64, 96), paint_place(place, 64, 96, shift=(0.125, 0.0))
    np.testing.assert_allclose(right[:, :-12].astype(int), still[:, 12:], atol=1)
    near = paint_place(place, 64, 96, zoom=2.0)
    assert np.abs(near[::2, ::2].astype(int) - still[16:48, 24:72]).mean() < 6


def test_light_multiplies_the_colours():
    place = draw_place(np.random.default_rng(0), "room")
    dark, bright = paint_place(place, 64, 96, light=0.5), paint_place(place, 64, 96)
    np.testing.assert_allclose(dark, bright * 0.5, atol=1)


@pytest.mark.parametrize("size", [(40, 200), (200, 40), (64, 96), (500, 700)])
def test_a_photo_fills_the_frame(size):
    rng = np.random.default_rng(0)
    photo = rng.integers(50, 200, (*size, 3), dtype=np.uint8)
    place = place_of_photo(photo, rng)
    assert place.word == PHOTO
    picture = paint_place(place, 64, 96, shift=(0.1, 0.0), zoom=1.1)
    assert picture.shape == (64, 96, 3)
    assert picture.min() >= 50


def test_an_unknown_place_is_refused_with_the_list():
    with pytest.raises(MagrefError, match="no place 'moon': choose one of hills, room"):
        draw_place(np.random.default_rng(0), "moon")
