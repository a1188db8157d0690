import math

import pytest
import torch

from magref_core.canvas.clip_view import clip_pixels
from magref_core.errors import ShapeError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def cubic(distance: float) -> float:
    """The bicubic kernel with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def slow_resize(line: list[float], size: int) -> list[float]:
    """The oracle: one line, four taps around each place, edges repeated; no smoothing before shrinking."""
    resized = []
    for index in range(size):
        place = (index + 0.5) * len(line) / size - 0.5
        first = math.floor(place) - 1
        taps = [
            (line[min(max(tap, 0), len(line) - 1)], cubic(place - tap)) for tap in range(first, first + 4)
        ]
        resized.append(sum(value * weight for value, weight in taps))
    return resized


def slow_clip_pixels(pixels: torch.Tensor, size: int) -> torch.Tensor:
    result = torch.empty(*pixels.shape[:2], size, size)
    for b, image in enumerate(pixels):
        for c, plane in enumerate(image):
            rows = [slow_resize(row, size) for row in plane.tolist()]
            columns = [slow_resize(list(column), size) for column in zip(*rows, strict=True)]
            result[b, c] = (torch.tensor(columns).T * 0.5 + 0.5 - MEAN[c]) / STD[c]
    return result


@pytest.mark.parametrize(("height", "width"), [(40, 64), (9, 11), (14, 14)])
def test_the_whole_picture_is_stretched_without_smoothing_clipping_or_rounding(height, width):
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)).round() * 2 - 1
    ours = clip_pixels(pixels, size=14)
    torch.testing.assert_close(ours, slow_clip_pixels(pixels, 14), atol=1e-4, rtol=0)  # float32 coordinates


def test_overshoot_is_not_clipped():
    pixels = torch.full((1, 3, 8, 8), -1.0)
    pixels[..., 4:] = 1.0
    white = torch.tensor([(1 - mean) / std for mean, std in zip(MEAN, STD, strict=True)])
    assert (clip_pixels(pixels).amax(dim=(0, 2, 3)) > white + 0.01).all()


def test_the_encoder_gets_224_pixels_a_side():
    assert clip_pixels(torch.zeros(1, 3, 480, 832)).shape == (1, 3, 224, 224)


def test_another_layout_is_refused():
    with pytest.raises(ShapeError, match=r"pixels are \(1, 480, 832, 3\), but \(batch, 3, height, width\)"):
        clip_pixels(torch.zeros(1, 480, 832, 3))
