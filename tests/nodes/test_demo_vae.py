"""Our VAE against the host's class, and the embedded linear code through the host's loader."""

from __future__ import annotations

import comfy.latent_formats
import comfy.ldm.wan.vae
import comfy.sd
import pytest
import torch
from magref_pack.magref_core.training.codec_embedding import embed_encoder, init_decoder
from magref_pack.magref_core.training.codec_fitting import BlockStatistics, fit_codec
from magref_pack.magref_core.training.wan_vae import WanVAE, WanVAEConfig, denormalise, normalise

HOST_CONFIG = {
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}


def random_pair(dim: int):
    """Our VAE and the host's with the same random weights, no layer of them near zero."""
    torch.manual_seed(dim)
    ours = WanVAE(WanVAEConfig(dim=dim)).eval()
    for parameter in ours.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 3 else 1
        parameter.normal_(std=fan_in**-0.5)
    host = comfy.ldm.wan.vae.WanVAE(dim=dim, **HOST_CONFIG).eval()
    host.load_state_dict(ours.state_dict(), strict=True)
    return ours, host


@pytest.mark.parametrize("num_frames", [1, 5, 17])
@pytest.mark.parametrize("dim", [4, 16])
def test_latents_and_clips_equal_those_of_the_host(dim, num_frames):
    ours, host = random_pair(dim)
    video = torch.rand(1, 3, num_frames, 16, 24) * 2 - 1
    latents = host.encode(video)
    torch.testing.assert_close(ours.encode(video), latents, atol=1e-5, rtol=1e-5)
    decoded = host.decode(latents)
    torch.testing.assert_close(ours.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def smooth_clips(count: int):
    """(count, 9, 32, 48, 3) uint8 of coarse random colours."""
    coarse = torch.rand(count, 3, 3, 5, 7)
    fine = torch.nn.functional.interpolate(coarse, size=(9, 32, 48), mode="trilinear")
    return (fine.permute(0, 2, 3, 4, 1) * 255).round().byte()


@pytest.fixture(scope="module")
def coded():
    """A code, a VAE with it, and the host's VAE from the same weights in float16."""
    torch.manual_seed(0)
    statistics = BlockStatistics()
    statistics.add_clips(smooth_clips(40))
    codec = fit_codec(statistics)
    vae = WanVAE(WanVAEConfig(dim=16)).requires_grad_(False)
    init_decoder(codec, vae, torch.Generator().manual_seed(0))
    embed_encoder(codec, vae)
    weights = {name: value.half() for name, value in vae.state_dict().items()}
    return codec, vae, comfy.sd.VAE(sd=weights)


def test_the_host_encodes_to_the_linear_code(coded):
    codec, _, host = coded
    clip = smooth_clips(1)[0]
    latents = comfy.latent_formats.Wan21().process_in(host.encode(clip / 255))
    bound = 1e-4 if host.vae_dtype == torch.float32 else 0.1
    torch.testing.assert_close(latents.cpu(), codec.encode(clip[None]), atol=bound, rtol=0)


def test_our_normalisation_is_the_hosts():
    latents = torch.randn(2, 16, 2, 3, 4)
    host = comfy.latent_formats.Wan21()
    torch.testing.assert_close(normalise(latents), host.process_in(latents))
    torch.testing.assert_close(denormalise(latents), host.process_out(latents))


def test_the_host_decodes_as_we_do(coded):
    codec, vae, host = coded
    latents = denormalise(codec.encode(smooth_clips(1)))
    frames = host.decode(latents).cpu()  # (B, F, H, W, 3) in [0, 1]
    expected = (vae.decode(latents).permute(0, 2, 3, 4, 1) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(frames, expected, atol=2e-2, rtol=0)  # the file holds float16
    assert (frames - expected).abs().mean() < 2e-3
