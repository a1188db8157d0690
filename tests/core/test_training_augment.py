import itertools
import json
import math
from collections import Counter
from dataclasses import asdict, replace
from statistics import fmean, variance

import pytest
import torch
import torch.nn.functional as F

from magref_core.errors import MagrefError, ShapeError
from magref_core.training.augment import (
    OFF,
    Augmentation,
    AugmentConfig,
    augment,
    choose_references,
    draw_augmentation,
)
from tests.draws import is_drawn_from

DEFAULT = AugmentConfig()
NOTHING = draw_augmentation(40, 60, OFF, torch.Generator().manual_seed(0))
"""A change that changes nothing."""
COUNT = 20_000


def uniform_below(low, high):
    return lambda value: (value - low) / (high - low)


def correlation(first, second):
    return torch.corrcoef(torch.tensor([first, second], dtype=torch.float64))[0, 1].item()


def picture(height, width, *, seed=0):
    return torch.rand(4, height, width, generator=torch.Generator().manual_seed(seed))


def square(size=128, *, inset=34):
    """A red square, cut out, on white."""
    image = torch.ones(4, size, size)
    image[3] = 0
    image[1:3, inset:-inset, inset:-inset] = 0
    image[3, inset:-inset, inset:-inset] = 1
    return image


def dot(x, y, *, size=101):
    """A cut-out of few pixels around (x, y), for following it."""
    image = torch.zeros(4, size, size)
    image[3, y - 2 : y + 3, x - 2 : x + 3] = 1
    return image


def centre_of(alpha):
    """Where a dot has come, (x, y)."""
    rows, columns = torch.arange(alpha.shape[0]), torch.arange(alpha.shape[1])
    return (
        (alpha.sum(0) * columns).sum().item() / alpha.sum().item(),
        (alpha.sum(1) * rows).sum().item() / alpha.sum().item(),
    )


@pytest.fixture(scope="module")
def draws():
    """Many changes of pictures whose longer side is 224 pixels."""
    generator = torch.Generator().manual_seed(0)
    return [draw_augmentation(150, 224, DEFAULT, generator) for _ in range(COUNT)]


def test_rotations_are_uniform(draws):
    angles = [draw.rotation for draw in draws]
    assert fmean(angles) == pytest.approx(0, abs=0.3)
    assert variance(angles) == pytest.approx(400 / 3, abs=3)
    assert is_drawn_from(angles, uniform_below(-20, 20))


def test_half_of_the_pictures_are_mirrored(draws):
    assert fmean(draw.flipped for draw in draws) == pytest.approx(0.5, abs=0.01)


def test_brightness_is_uniform_around_1():
    generator = torch.Generator().manual_seed(0)
    config = replace(OFF, brightness=0.1)
    gains = [draw_augmentation(50, 50, config, generator).gains for _ in range(COUNT)]
    assert all(red == green == blue for red, green, blue in gains)
    brightness = [red for red, _, _ in gains]
    assert fmean(brightness) == pytest.approx(1, abs=0.001)
    assert is_drawn_from(brightness, uniform_below(0.9, 1.1))


def test_colours_are_uniform_and_independent():
    generator = torch.Generator().manual_seed(1)
    config = replace(OFF, colour=0.05)
    gains = [draw_augmentation(50, 50, config, generator).gains for _ in range(COUNT)]
    channels = list(zip(*gains, strict=True))
    for channel in channels:
        assert is_drawn_from(channel, uniform_below(0.95, 1.05))
    for first, second in itertools.combinations(channels, 2):
        assert correlation(first, second) == pytest.approx(0, abs=0.03)


def test_downscale_is_uniform_down_to_112_pixels(draws):
    assert is_drawn_from([draw.downscale for draw in draws], uniform_below(112 / 224, 1))


def test_blur_is_uniform_up_to_a_fiftieth_of_the_longer_side(draws):
    assert is_drawn_from([draw.blur for draw in draws], uniform_below(1, 224 / 50))


def test_shear_is_uniform_along_both_axes(draws):
    for axis in (0, 1):
        assert is_drawn_from([draw.shear[axis] for draw in draws], uniform_below(-0.05, 0.05))


def test_crops_are_uniform_in_size_and_lie_anywhere(draws):
    lefts, tops, widths, heights = zip(*(draw.crop for draw in draws), strict=True)
    for kept in (widths, heights):
        assert is_drawn_from(kept, uniform_below(0.67, 1))
    across = [left / (1 - width) for left, width in zip(lefts, widths, strict=True)]
    down = [top / (1 - height) for top, height in zip(tops, heights, strict=True)]
    for place in (across, down):
        assert is_drawn_from(place, uniform_below(0, 1))
    assert correlation(across, down) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("size", [(112, 80), (30, 112), (64, 64)])
def test_a_picture_of_112_pixels_or_less_is_not_shrunk(size):
    generator = torch.Generator().manual_seed(0)
    assert {draw_augmentation(*size, DEFAULT, generator).downscale for _ in range(100)} == {1.0}


def test_a_draw_follows_from_the_seed_and_can_be_kept_as_json():
    first, again, other = (
        draw_augmentation(90, 70, DEFAULT, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert first == again != other
    fields = json.loads(json.dumps(asdict(first)))
    assert fields["rotation"] == first.rotation
    assert torch.equal(augment(picture(90, 70), first), augment(picture(90, 70), again))


def test_any_configuration_advances_the_generator_alike():
    after = []
    for config in (DEFAULT, OFF):
        generator = torch.Generator().manual_seed(0)
        draw_augmentation(200, 300, config, generator)
        after.append(torch.rand(3, generator=generator))
    assert torch.equal(*after)


@pytest.mark.parametrize("fill", ["white", "reflect"])
def test_with_all_off_nothing_changes(fill):
    given = picture(40, 60)
    assert torch.equal(augment(given, NOTHING, fill=fill), given)


@pytest.mark.parametrize("fill", ["white", "reflect"])
@pytest.mark.parametrize("size", [(1, 1), (5, 200), (130, 90), (256, 256)])
def test_size_type_and_range_stay(size, fill):
    generator = torch.Generator().manual_seed(0)
    given = picture(*size)
    untouched = given.clone()
    for _ in range(10):
        out = augment(given, draw_augmentation(*size, DEFAULT, generator), fill=fill)
        assert out.shape == given.shape
        assert out.dtype == torch.float32
        assert 0 <= out.min() <= out.max() <= 1
    assert torch.equal(given, untouched)


def test_picture_and_mask_stay_registered():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        out = augment(square(), draw_augmentation(128, 128, DEFAULT, generator))
        seen = out[:3].amax(0) - out[:3].amin(0) > 0.5  # colourful, whatever the light
        marked = out[3] > 0.5
        assert marked.any()
        assert (seen & marked).sum() / (seen | marked).sum() > 0.95


def test_the_area_that_comes_in_is_white_and_unmarked():
    given = torch.full((4, 80, 80), 0.3)
    given[3] = 1
    out = augment(given, replace(NOTHING, rotation=20.0))
    assert (out[:, 0, 0] == torch.tensor([1.0, 1.0, 1.0, 0.0])).all()
    torch.testing.assert_close(out[:, 40, 40], given[:, 40, 40])


def test_the_area_that_comes_in_can_be_the_mirrored_picture():
    given = picture(80, 80)
    given[3] = 1
    out = augment(given, replace(NOTHING, rotation=20.0), fill="reflect")
    torch.testing.assert_close(out[3], torch.ones(80, 80))
    assert out[:3, :10, :10].std() > 0.1


def test_a_mirrored_picture_is_mirrored_exactly():
    given = picture(7, 9)
    assert torch.equal(augment(given, replace(NOTHING, flipped=True)), given.flip(-1))


def test_mirroring_comes_last():
    change = replace(NOTHING, rotation=13.0, shear=(0.03, -0.02), crop=(0.1, 0.05, 0.8, 0.9))
    plain = augment(picture(60, 90), change)
    mirrored = augment(picture(60, 90), replace(change, flipped=True))
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-4, rtol=0)


def test_a_turn_is_clockwise_and_about_the_middle():
    angle = math.radians(20)
    x, y = centre_of(augment(dot(90, 50), replace(NOTHING, rotation=20.0))[3])
    assert (x, y) == pytest.approx((50 + 40 * math.cos(angle), 50 + 40 * math.sin(angle)), abs=0.2)


def test_a_turn_keeps_distances_in_a_wide_picture():
    wide = torch.zeros(4, 50, 151)
    wide[3, 23:28, 103:108] = 1
    x, y = centre_of(augment(wide, replace(NOTHING, rotation=30.0))[3])
    assert math.hypot(x - 75, y - 24.5) == pytest.approx(30, abs=0.6)


def test_shear_moves_the_lower_edge_to_the_right_and_the_right_edge_down():
    x, y = centre_of(augment(dot(50, 90), replace(NOTHING, shear=(0.0, 0.05)))[3])
    assert (x, y) == pytest.approx((52, 90), abs=0.1)
    x, y = centre_of(augment(dot(90, 50), replace(NOTHING, shear=(0.05, 0.0)))[3])
    assert (x, y) == pytest.approx((90, 52), abs=0.1)


def test_a_crop_fills_the_picture_with_its_part():
    given = F.avg_pool2d(picture(80, 100), 9, stride=1, padding=4)
    out = augment(given, replace(NOTHING, crop=(0.2, 0.1, 0.5, 0.7)))
    part = given[None, :, 8:64, 20:70]
    expected = F.interpolate(part, size=(80, 100), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(out[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], atol=2e-3, rtol=0)


def test_downscale_takes_the_detail_and_keeps_the_size():
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    given = board.float().expand(4, 64, 64)
    out = augment(given, replace(NOTHING, downscale=0.25))
    assert out.shape == given.shape
    assert out.std() < 0.1 * given.std()
    assert out.mean().item() == pytest.approx(0.5, abs=0.01)


def test_blur_is_a_gaussian_that_spans_its_kernel():
    point = torch.zeros(4, 41, 41)
    point[:, 20, 20] = 1
    out = augment(point, replace(NOTHING, blur=12.0))[3]
    assert out.sum().item() == pytest.approx(1, abs=1e-4)
    assert out[20, 20:27].tolist() == sorted(out[20, 20:27].tolist(), reverse=True)
    columns = torch.arange(41) - 20.0
    assert (out.sum(0) * columns**2).sum().item() == pytest.approx((12 / 6) ** 2, rel=0.03)
    assert not out[:, :14].any()
    assert torch.equal(augment(point, replace(NOTHING, blur=1.0)), point)


def test_gains_change_the_light_and_not_the_mask():
    given = picture(6, 6) / 2
    out = augment(given, replace(NOTHING, gains=(0.9, 1.0, 1.1)))
    torch.testing.assert_close(out, given * torch.tensor([0.9, 1.0, 1.1, 1.0]).view(4, 1, 1))


def test_a_picture_without_alpha_is_refused():
    with pytest.raises(ShapeError, match=r"the reference is \(3, 5, 5\), but \(4, height, width\) is needed"):
        augment(torch.zeros(3, 5, 5), NOTHING)


def test_an_unknown_fill_is_refused():
    with pytest.raises(MagrefError, match="the fill is 'black', which is unknown: use one of white, reflect"):
        augment(picture(5, 5), NOTHING, fill="black")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rotation": -1.0}, "rotation of the augmentation is -1.0, but must be at least 0"),
        ({"blur": float("nan")}, "blur of the augmentation is nan"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"shear": 1.0}, "shear 1.0"),
        ({"crop": 0.0}, "crop 0.0: flip must be 0 to 1, shear below 1, crop above 0 to 1"),
        ({"crop": 1.2}, "crop 1.2"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        AugmentConfig(**change)


@pytest.fixture(scope="module")
def choices():
    """Choices among so many subjects and pictures that a repeat is rare."""
    generator = torch.Generator().manual_seed(0)
    return [choose_references([1000] * 1000, generator) for _ in range(COUNT)]


def test_one_two_or_three_subjects_come_equally_often(choices):
    counts = Counter(len({subject for subject, _ in choice.pictures}) for choice in choices)
    assert set(counts) == {1, 2, 3}
    for times in counts.values():
        assert times / COUNT == pytest.approx(1 / 3, abs=0.01)


def test_each_subject_has_one_two_or_three_pictures_equally_often(choices):
    counts = Counter(
        times for choice in choices for times in Counter(subject for subject, _ in choice.pictures).values()
    )
    for number in (1, 2, 3):
        assert counts[number] / counts.total() == pytest.approx(1 / 3, abs=0.01)


def test_the_background_is_there_half_of_the_time(choices):
    assert fmean(choice.has_background for choice in choices) == pytest.approx(0.5, abs=0.01)


def test_subjects_and_pictures_are_drawn_with_replacement():
    generator = torch.Generator().manual_seed(0)
    choices = [choose_references([1, 2], generator) for _ in range(COUNT)]
    alone = fmean(len({subject for subject, _ in choice.pictures}) == 1 for choice in choices)
    # Of n draws from two subjects all are equal with 2 / 2^n: for two draws one half.
    assert alone == pytest.approx((1 + 1 / 2 + 1 / 4) / 3, abs=0.01)
    second = [choice.pictures for choice in choices if set(choice.pictures) <= {(1, 0), (1, 1)}]
    twice = [pictures for pictures in second if len(pictures) == 2]
    assert fmean(pictures[0] == pictures[1] for pictures in twice) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("pictures_of", [[], [2, 0]])
def test_subjects_without_pictures_are_refused(pictures_of):
    with pytest.raises(MagrefError, match="at least one subject and one picture of each are needed"):
        choose_references(pictures_of, torch.Generator())


def test_a_change_can_be_written_by_hand():
    change = Augmentation(
        downscale=1.0,
        blur=1.0,
        gains=(1.0, 1.0, 1.0),
        flipped=False,
        shear=(0.0, 0.0),
        rotation=0.0,
        crop=(0.0, 0.0, 1.0, 1.0),
    )
    assert change == NOTHING
