"""The VAE against a slow version of its convolutions in 3-D, and what must hold of any causal VAE."""

import pytest
import torch
import torch.nn.functional as F

from magref_core.errors import ShapeError
from magref_core.training.wan_vae import (
    CausalConv3d,
    Downsample,
    RMSNorm,
    Upsample,
    WanVAE,
    WanVAEConfig,
    denormalise,
    init_weights,
    normalise,
    skip_levels,
)


@pytest.fixture(scope="module", autouse=True)
def flush_denormals():
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def tiny_vae(dim=4, seed=0):
    torch.manual_seed(seed)
    vae = WanVAE(WanVAEConfig(dim=dim)).requires_grad_(False)
    for parameter in vae.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 3 else 1)
    return vae


def channels_first(x):
    return x.permute(0, 4, 1, 2, 3)


@pytest.mark.parametrize("num_frames", [1, 2, 6])
@pytest.mark.parametrize("kernel", [1, 3, (3, 1, 1)])
def test_causal_convolution_is_a_3d_convolution_over_zeros_and_the_past(kernel, num_frames):
    torch.manual_seed(0)
    conv = CausalConv3d(3, 5, kernel)
    x = torch.randn(2, num_frames, 4, 6, 3)
    taps, _, side = conv.weight.shape[2:]
    padded = F.pad(channels_first(x), (side // 2,) * 4 + (taps - 1, 0))
    expected = F.conv3d(padded, conv.weight, conv.bias)
    torch.testing.assert_close(channels_first(conv(x)), expected, atol=1e-5, rtol=1e-5)


def test_halving_keeps_frame_0_and_sees_each_later_pair_with_the_frame_before():
    torch.manual_seed(0)
    layer = Downsample(4, time=True)
    x = torch.randn(1, 5, 4, 6, 4)
    spatial = layer.resample[1](F.pad(channels_first(x).transpose(1, 2).flatten(0, 1), (0, 1, 0, 1)))
    weight, bias = layer.time_conv.weight[..., 0, 0], layer.time_conv.bias[:, None, None]
    expected = [spatial[0]]
    for last in (2, 4):
        taps = [torch.einsum("oi,ihw->ohw", weight[:, :, tap], spatial[last - 2 + tap]) for tap in range(3)]
        expected.append(sum(taps) + bias)
    result = channels_first(layer(x))[0].transpose(0, 1)
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_doubling_keeps_frame_0_and_hides_it_from_the_later_frames():
    torch.manual_seed(0)
    layer = Upsample(4, time=True)
    x = torch.randn(1, 3, 4, 6, 4)
    other = x.clone()
    other[:, 0] = torch.randn(4, 6, 4)
    first, second = layer(x), layer(other)
    assert first.shape == (1, 5, 8, 12, 2)
    torch.testing.assert_close(first[:, 1:], second[:, 1:])
    assert not torch.allclose(first[:, 0], second[:, 0])


def test_norm_scales_each_position_to_gamma():
    norm = RMSNorm(4)
    x = torch.tensor([[3.0, 0, 0, 4.0], [0, 0, 0, 0]])
    torch.testing.assert_close(norm(x), torch.tensor([[1.2, 0, 0, 1.6], [0, 0, 0, 0]]))


def test_a_clip_cut_short_gives_the_same_latents_and_frames_cut_short():
    vae = tiny_vae()
    video = torch.rand(1, 3, 9, 16, 24) * 2 - 1
    latents = vae.encode(video)
    assert latents.shape == (1, 16, 3, 2, 3)
    torch.testing.assert_close(vae.encode(video[:, :, :5]), latents[:, :, :2])
    frames = vae.decode(latents)
    assert frames.shape == video.shape
    torch.testing.assert_close(vae.decode(latents[:, :, :2]), frames[:, :, :5], atol=1e-5, rtol=1e-5)


def test_keys_and_shapes_are_those_that_loaders_look_for():
    weights = WanVAE(WanVAEConfig(dim=8)).state_dict()
    assert weights["decoder.middle.0.residual.0.gamma"].shape == (32, 1, 1, 1)
    assert weights["decoder.head.0.gamma"].shape == (8, 1, 1, 1)
    assert weights["decoder.middle.1.norm.gamma"].shape == (32, 1, 1)
    assert weights["encoder.downsamples.5.time_conv.weight"].shape == (16, 16, 3, 1, 1)
    assert weights["decoder.upsamples.3.time_conv.weight"].shape == (64, 32, 3, 1, 1)
    assert "decoder.upsamples.11.time_conv.weight" not in weights
    assert not any("is_skipped" in key for key in weights)


def test_drawn_weights_keep_the_size_of_what_goes_through():
    vae = WanVAE(WanVAEConfig(dim=16)).requires_grad_(False)
    init_weights(vae, torch.Generator().manual_seed(0))
    latents = vae.encode(torch.rand(1, 3, 5, 32, 32) * 2 - 1)
    assert 0.2 < latents.std() < 3
    assert 0.2 < vae.decode(torch.randn(1, 16, 2, 4, 4)).std() < 3


def test_normalising_is_undone():
    latents = torch.randn(2, 16, 2, 3, 4)
    torch.testing.assert_close(denormalise(normalise(latents)), latents)
    assert normalise(torch.zeros(1, 16, 1, 1, 1)).flatten()[0] == pytest.approx(0.7571 / 2.8184)


def test_skipped_levels_are_those_far_from_the_latents():
    vae = tiny_vae()
    latents = torch.randn(1, 16, 2, 2, 2)
    whole = vae.decode(latents)
    assert len(skip_levels(vae.decoder, 2)) == 6
    assert not torch.allclose(vae.decode(latents), whole)
    assert skip_levels(vae.decoder, 4) == []
    assert torch.equal(vae.decode(latents), whole)


def test_a_clip_that_does_not_fit_is_refused_with_the_remedy():
    vae = tiny_vae()
    with pytest.raises(ShapeError, match=r"24 x 12 .* multiples of 8"):
        vae.encode(torch.zeros(1, 3, 1, 12, 24))
    with pytest.raises(ShapeError, match="use 5"):
        vae.encode(torch.zeros(1, 3, 4, 16, 16))
