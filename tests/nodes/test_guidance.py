from __future__ import annotations

import comfy.latent_formats
import comfy.sd
import pytest
import torch
from magref_pack.magref_core.canvas.clip_view import clip_pixels
from magref_pack.magref_core.canvas.compose import compose_canvas
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes import host
from magref_pack.nodes.guidance import ApplyMaskedGuidance

from . import models


@pytest.fixture
def canvas():
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.randint(0, 256, (20, 14, 3), generator=generator, dtype=torch.uint8) for _ in range(2)]
    given = tuple(Reference(name=f"r{i}", image=picture) for i, picture in enumerate(pictures))
    placed = arrange([(20, 14)] * 2, height=64, width=96, seed=1)
    return compose_canvas(given, placed, height=64, width=96)


def guide(canvas, length=9, vae=None, clip_vision=None):
    return ApplyMaskedGuidance.execute(
        models.conditioning(4, seed=1),
        models.conditioning(2, seed=2),
        vae or models.vae(),
        clip_vision or models.clip_vision(),
        canvas,
        length,
    ).args


def slow_mask_channels(canvas, num_latent_frames):
    """Cell by cell from the text of the method: 1 where any pixel of the cell shows a reference."""
    height, width = canvas.mask.shape
    channels = torch.zeros(1, 4, num_latent_frames, height // 8, width // 8)
    for row in range(height // 8):
        for column in range(width // 8):
            if canvas.mask[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].any():
                channels[0, :, 0, row, column] = 1
    return channels


@pytest.mark.parametrize("load", [models.our_model, models.native_model])
def test_the_model_is_fed_mask_and_canvas_latents_in_the_trained_order(canvas, load):
    positive, negative, latent = guide(canvas)
    base = load().model
    noise = torch.zeros_like(latent["samples"])
    pixels = torch.full((9, 64, 96, 3), 0.5)
    pixels[0] = canvas.image.float() / 255
    expected = comfy.latent_formats.Wan21().process_in(models.vae().encode(pixels))
    for _, extras in (positive[0], negative[0]):
        fed = base.concat_cond(noise=noise, device="cpu", **extras)
        assert torch.equal(fed[:, :4], slow_mask_channels(canvas, 3)), "mask channels first, 1 on a reference"
        torch.testing.assert_close(fed[:, 4:], expected, rtol=0, atol=3e-5)


def test_the_prompt_that_is_given_stays_as_it_was(canvas):
    prompt = models.conditioning(4, seed=1)
    ApplyMaskedGuidance.execute(prompt, prompt, models.vae(), models.clip_vision(), canvas, 5)
    assert prompt[0][1] == {}


@pytest.mark.parametrize("length", [1, 5, 81])
def test_the_latent_is_empty_and_in_the_size_of_the_video(canvas, length):
    latent = guide(canvas, length)[2]["samples"]
    assert latent.shape == (1, 16, (length - 1) // 4 + 1, 8, 12)
    assert not latent.any()


def test_clip_vision_sees_the_whole_canvas_stretched_and_not_antialiased(canvas):
    tower = models.clip_vision()
    pixels = clip_pixels(canvas.pixels()[None], size=56)
    expected = tower.model(pixel_values=pixels, intermediate_output=-2)[1]
    seen = host.see_canvas(tower, canvas)
    torch.testing.assert_close(seen.penultimate_hidden_states, expected, rtol=0, atol=1e-5)
    native = tower.encode_image(canvas.image[None].float() / 255, crop=False)
    assert (native.penultimate_hidden_states - expected).abs().max() > 1e-3, (
        "the host's preprocessing differs"
    )


@pytest.mark.parametrize(
    ("length", "sentence"), [(82, "use 81"), (80, "use 81"), (0, "use 1"), (4097, "at most 1025")]
)
def test_a_length_off_the_grid_is_refused_with_the_nearest(length, sentence):
    assert sentence in ApplyMaskedGuidance.validate_inputs(length=length)
    assert ApplyMaskedGuidance.validate_inputs(length=None) is True
    with pytest.raises(MagrefError, match=sentence):  # over a link it is seen only here
        ApplyMaskedGuidance.execute(None, None, None, None, None, length)


def test_a_vae_of_another_family_is_refused(canvas):
    image_vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    image_vae.first_stage_model, image_vae.latent_channels = torch.nn.Conv2d(3, 4, 1), 4
    with pytest.raises(MagrefError, match=r"Conv2d with 4 latent channels, but MAGREF needs the Wan 2.1 VAE"):
        guide(canvas, vae=image_vae)


def test_a_clip_vision_model_of_another_width_is_refused(canvas):
    with pytest.raises(MagrefError, match=r"64 channels, but MAGREF needs ViT-H with 1280"):
        guide(canvas, clip_vision=models.clip_vision(64))


@pytest.mark.parametrize(
    ("prompt", "missing"), [("", []), ("r0 meets R1", []), ("r1 walks", ["r0"]), ("nobody", ["r0", "r1"])]
)
def test_the_prompt_as_text_is_searched_for_the_names_of_the_subjects(canvas, caplog, prompt, missing):
    given = models.conditioning(4, seed=1), models.conditioning(2, seed=2), models.vae(), models.clip_vision()
    ApplyMaskedGuidance.execute(*given, canvas, 5, prompt)
    said = [record.message for record in caplog.records if "does not name" in record.message]
    assert [sentence.split("'")[1] for sentence in said] == missing
    assert all("say in the prompt what it does" in sentence for sentence in said)


def test_the_prompt_as_text_changes_nothing_but_the_notices(canvas):
    given = models.conditioning(4, seed=1), models.conditioning(2, seed=2), models.vae(), models.clip_vision()
    plain = ApplyMaskedGuidance.execute(*given, canvas, 5).args
    told = ApplyMaskedGuidance.execute(*given, canvas, 5, "r0 and r1").args
    for key in ("concat_latent_image", "concat_mask"):
        assert torch.equal(plain[0][0][1][key], told[0][0][1][key])
    assert torch.equal(plain[2]["samples"], told[2]["samples"])
