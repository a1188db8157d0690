from __future__ import annotations

import pytest
import torch

from magref_core.canvas.decorrelate import Decorrelation, decorrelate
from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError


def picture(*, alpha=None, height=40, width=60):
    generator = torch.Generator().manual_seed(5)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Reference(name="alice", image=image, alpha=alpha)


def disc(height=40, width=60):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (((rows - 20) ** 2 + (columns - 20) ** 2 < 150) * 255).to(torch.uint8)


def test_with_all_off_the_reference_is_the_same_object():
    given = picture(alpha=disc())
    assert decorrelate(given, Decorrelation(seed=9)) is given


def test_all_mirrors_picture_and_alpha_and_twice_is_once_more_the_first():
    given = picture(alpha=disc())
    turned = decorrelate(given, Decorrelation(flip="all"))
    assert torch.equal(turned.image, given.image.flip(1)) and torch.equal(turned.alpha, given.alpha.flip(1))
    assert torch.equal(decorrelate(turned, Decorrelation(flip="all")).image, given.image)


def test_random_mirrors_about_half_by_seed_and_number():
    given = picture()
    for vary in ("seed", "number"):
        turned = 0
        for value in range(200):
            change = Decorrelation(flip="random", seed=value if vary == "seed" else 3)
            result = decorrelate(given, change, number=value if vary == "number" else 0)
            turned += torch.equal(result.image, given.image.flip(1))
        assert 70 < turned < 130


def test_a_crop_is_a_part_of_the_picture_not_smaller_than_asked():
    given = picture(alpha=disc())
    seen = set()
    for seed in range(40):
        result = decorrelate(given, Decorrelation(crop=20, seed=seed))
        height, width = result.height, result.width
        assert 32 <= height <= 40 and 48 <= width <= 60
        seen.add((height, width))
        assert any(
            torch.equal(result.image, given.image[top : top + height, left : left + width])
            and torch.equal(result.alpha, given.alpha[top : top + height, left : left + width])
            for top in range(41 - height)
            for left in range(61 - width)
        )
    assert len(seen) > 10


def test_a_crop_that_would_lose_the_cut_out_is_left_out():
    alpha = torch.zeros(40, 60, dtype=torch.uint8)
    alpha[0, 0] = 255
    for seed in range(40):
        result = decorrelate(picture(alpha=alpha), Decorrelation(crop=30, seed=seed))
        assert bool(result.alpha.any())


def test_a_blur_takes_detail_away_and_keeps_the_mean_and_the_alpha():
    given = picture(alpha=disc())
    result = decorrelate(given, Decorrelation(blur=5))
    assert torch.equal(result.alpha, given.alpha)
    inside = given.alpha > 0
    before, after = given.image[inside].float(), result.image[inside].float()
    assert after.std() < 0.5 * before.std()
    assert abs(after.mean() - before.mean()) < 8


def test_what_lies_beside_the_cut_out_does_not_run_into_it():
    alpha = disc()
    image = torch.full((40, 60, 3), 255, dtype=torch.uint8)
    image[alpha > 0] = 10
    result = decorrelate(Reference(name="alice", image=image, alpha=alpha), Decorrelation(blur=5))
    assert int(result.image[alpha > 0].max()) <= 11


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"crop": -1}, "the crop is -1 per cent, but must be from 0 to 30"),
        ({"crop": 31}, "the crop is 31 per cent"),
        ({"crop": float("nan")}, "the crop is nan per cent"),
        ({"blur": 1000}, "the blur is 1000 per cent, but must be from 0 to 5"),
        ({"flip": "up"}, "the flip is 'up', which is unknown: choose one of none, random, all"),
    ],
)
def test_values_out_of_range_are_refused(values, sentence):
    with pytest.raises(MagrefError, match=sentence):
        Decorrelation(**values)


def test_a_picture_of_one_pixel_survives():
    image = torch.zeros(1, 1, 3, dtype=torch.uint8)
    result = decorrelate(Reference(name="dot", image=image), Decorrelation(crop=30, blur=5, flip="all"))
    assert result.image.shape == (1, 1, 3)
