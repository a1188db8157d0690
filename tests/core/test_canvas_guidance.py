import pytest
import torch

from magref_core.canvas.guidance import assemble_guidance
from magref_core.errors import ShapeError


def test_the_mask_comes_before_the_latents():
    mask, latents = torch.ones(2, 4, 3, 4, 6), torch.randn(2, 16, 3, 4, 6)
    guidance = assemble_guidance(mask, latents)
    assert guidance.shape == (2, 20, 3, 4, 6)
    assert torch.equal(guidance[:, :4], mask)
    assert torch.equal(guidance[:, 4:], latents)


def test_the_mask_takes_the_type_of_the_latents():
    mask = torch.ones(1, 4, 3, 4, 6, dtype=torch.uint8)
    assert assemble_guidance(mask, torch.zeros(1, 16, 3, 4, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_latents_of_another_video_are_refused_in_pixels_and_frames():
    mask, latents = torch.ones(1, 4, 3, 4, 6), torch.zeros(1, 16, 3, 4, 8)
    sentence = (
        "mask belongs to 1 x 48 x 32 pixels x 9 frames, the canvas latents to 1 x 64 x 32 pixels x 9 frames"
    )
    with pytest.raises(ShapeError, match=sentence):
        assemble_guidance(mask, latents)


def test_latents_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"9 frames, .* 13 frames: use the same width, height and length"):
        assemble_guidance(torch.ones(1, 4, 3, 4, 6), torch.zeros(1, 16, 4, 4, 6))


def test_latents_of_another_vae_are_refused():
    with pytest.raises(ShapeError, match=r"canvas latents are \(1, 48, 3, 4, 6\), .*: encode .* Wan 2.1 VAE"):
        assemble_guidance(torch.ones(1, 4, 3, 4, 6), torch.zeros(1, 48, 3, 4, 6))
