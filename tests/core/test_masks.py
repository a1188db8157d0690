import pytest
import torch

from magref_core.canvas.masks import mask_channels, to_latent_mask
from magref_core.errors import ShapeError


def slow_latent_mask(canvas_mask):
    """The oracle: pixel by pixel, from the text of the method and not from our code."""
    batch, height, width = canvas_mask.shape
    latent_mask = torch.zeros(batch, height // 8, width // 8, dtype=canvas_mask.dtype)
    for b, y, x in canvas_mask.nonzero().tolist():
        if y // 8 < height // 8 and x // 8 < width // 8:
            latent_mask[b, y // 8, x // 8] = 1
    return latent_mask


def slow_mask_channels(latent_mask, num_frames):
    """The oracle: a mask per frame, the first four times; four at a time are a latent frame's channels."""
    frames = torch.zeros(num_frames + 3, *latent_mask.shape, dtype=latent_mask.dtype)
    frames[:4] = latent_mask
    groups = frames.reshape((num_frames + 3) // 4, 4, *latent_mask.shape)  # (T, 4, B, h, w)
    return groups.permute(2, 1, 0, 3, 4)


def scattered(height, width, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2, height, width, generator=generator) > 0.98).to(dtype)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (480, 832), (57, 91), (101, 179)])
def test_a_cell_is_marked_when_any_of_its_pixels_is(height, width):
    canvas_mask = scattered(height, width)
    assert torch.equal(to_latent_mask(canvas_mask), slow_latent_mask(canvas_mask))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.bfloat16])
def test_the_type_of_the_mask_is_kept(dtype):
    latent_mask = to_latent_mask(scattered(32, 32, dtype))
    assert latent_mask.dtype == dtype
    assert torch.equal(latent_mask.float(), to_latent_mask(scattered(32, 32)))


def test_a_mask_smaller_than_a_cell_is_refused():
    with pytest.raises(ShapeError, match="canvas mask is 40 x 7 pixels: use at least 16 x 16"):
        to_latent_mask(torch.ones(1, 7, 40))


@pytest.mark.parametrize("num_frames", [1, 5, 17, 81, 121])
def test_the_mask_fills_the_four_channels_of_the_first_latent_frame_alone(num_frames):
    latent_mask = to_latent_mask(scattered(32, 48))
    channels = mask_channels(latent_mask, num_frames)
    assert torch.equal(channels, slow_mask_channels(latent_mask, num_frames))
    assert channels.shape == (2, 4, (num_frames + 3) // 4, 4, 6)


def test_mask_channels_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"has 80 frames, .*: use 81"):
        mask_channels(torch.ones(1, 4, 6), 80)
