"""The linear code: against its definition, against principal components, and in the encoder."""

import math

import pytest
import torch
from einops import rearrange

from magref_core.errors import CheckpointError, MagrefError, ShapeError
from magref_core.training.codec_embedding import embed_encoder, init_decoder
from magref_core.training.codec_fitting import BlockStatistics, fit_codec, report
from magref_core.training.ema import WeightAverage
from magref_core.training.files import TrainingError, save_tensors
from magref_core.training.linear_codec import GROUP_PIXELS, STAGE_SHAPES, LinearCodec
from magref_core.training.rates import RateConfig
from magref_core.training.state import read_state
from magref_core.training.vae_training import (
    STATE_FILE,
    WEIGHTS_FILE,
    VAETrainingOptions,
    measure_psnr,
    train_vae,
)
from magref_core.training.wan_vae import WanVAE, WanVAEConfig, init_weights, normalise


@pytest.fixture(scope="module", autouse=True)
def flush_denormals():
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def moving_discs(count, *, seed=0, num_frames=9, height=32, width=48):
    """(count, F, H, W, 3) uint8: striped discs on a slope of colours; frame 0 has them on white."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clips = torch.empty(count, num_frames, height, width, 3)
    for clip in clips:
        low, high, disc, stripe = torch.rand(4, 3, generator=generator)
        clip[:] = low + (high - low) * (rows / height)[..., None]
        clip[0] = 1
        x, y, dx, dy = torch.rand(4, generator=generator) * torch.tensor([width, height, 4, 2])
        radius = 6 + 6 * torch.rand((), generator=generator)
        for index, frame in enumerate(clip):
            inside = (columns - x - dx * index) ** 2 + (rows - y - dy * index) ** 2 < radius**2
            frame[inside] = disc
            frame[inside & (rows // 4 % 2 == 0)] = stripe
    return (clips * 255).round().byte()


@pytest.fixture(scope="module")
def statistics():
    clips = moving_discs(60)
    found = BlockStatistics()
    found.add_clips(clips)
    found.add_first(clips[:, 4])
    return found


@pytest.fixture(scope="module")
def codec(statistics):
    return fit_codec(statistics)


def signed(frames):
    """uint8 (B, F, H, W, 3) -> (B, 3, F, H, W) in [-1, 1]."""
    return (frames.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)


def embedded_vae(codec, dim=16):
    vae = WanVAE(WanVAEConfig(dim=dim)).requires_grad_(False)
    init_decoder(codec, vae, torch.Generator().manual_seed(0))
    embed_encoder(codec, vae)
    return vae


def slow_latents(codec, clip):
    """The oracle: block by block, from (F, H, W, 3) in [-1, 1]."""
    frames, height, width, _ = clip.shape
    latents = torch.empty(16, (frames - 1) // 4 + 1, height // 8, width // 8)
    for t, i, j in torch.cartesian_prod(*(torch.arange(n) for n in latents.shape[1:])).tolist():
        rows, columns = slice(8 * i, 8 * i + 8), slice(8 * j, 8 * j + 8)
        if t == 0:
            value = clip[0, rows, columns].flatten() @ codec.first_weight
        else:
            value = clip[4 * t - 3 : 4 * t + 1, rows, columns].flatten() @ codec.group_weight
        latents[:, t, i, j] = value + codec.bias
    return latents


@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_latents_are_sums_over_blocks_and_border_marks(codec, num_frames):
    clip = moving_discs(1, seed=5)[:, :num_frames]
    expected = slow_latents(codec, clip[0].float() / 127.5 - 1)
    expected[14, :, :, 0] += 1
    expected[14, :, :, -1] -= 1
    expected[15, :, 0] += 1
    expected[15, :, -1] -= 1
    # bfloat16 holds the marks to a part in five hundred
    torch.testing.assert_close(codec.encode(clip)[0], expected, atol=2e-3, rtol=0)


def test_bytes_and_signed_floats_give_the_same_latents(codec):
    clip = moving_discs(2)
    torch.testing.assert_close(
        codec.encode(clip.float() / 127.5 - 1), codec.encode(clip), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("size", [(8, 8), (32, 48), (48, 16)])
@pytest.mark.parametrize("num_frames", [1, 5, 9])
def test_the_encoder_of_the_vae_computes_the_code(codec, size, num_frames):
    clip = moving_discs(2, seed=1, num_frames=num_frames, height=size[0], width=size[1])
    latents = codec.encode(clip)
    encoded = normalise(embedded_vae(codec).encode(signed(clip)))
    torch.testing.assert_close(encoded, latents, atol=5e-5, rtol=0)


def test_a_wider_encoder_computes_the_code_too(codec):
    clip = moving_discs(1, seed=2, num_frames=5)
    encoded = normalise(embedded_vae(codec, dim=24).encode(signed(clip)))
    torch.testing.assert_close(encoded, codec.encode(clip), atol=5e-5, rtol=0)


def test_weights_of_the_encoder_lose_nothing_in_half_precision(codec):
    weights = embedded_vae(codec).encoder.state_dict()
    for dtype in (torch.bfloat16, torch.float16):
        assert all(torch.equal(value.to(dtype).float(), value) for value in weights.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_encoder_may_run_in_half_precision(codec, dtype):
    clip = moving_discs(2, seed=3)
    encoded = normalise(embedded_vae(codec).to(dtype).encode(signed(clip).to(dtype)).float())
    error = (encoded - codec.encode(clip)).square().mean().sqrt()
    assert error < 0.01  # of latents with variance 1


def test_a_canvas_before_grey_frames_is_what_its_video_encodes_to(codec):
    canvas = moving_discs(2)[:, 0]
    video = torch.zeros(2, 9, *canvas.shape[1:])
    video[:, 0] = canvas / 127.5 - 1
    guide = codec.encode_canvas(canvas, 3)
    torch.testing.assert_close(guide, codec.encode(video), atol=1e-5, rtol=1e-5)
    assert torch.equal(guide[:, :14, 1], guide[:1, :14, 2, :1, :1].expand(2, -1, *guide.shape[3:]))


def test_the_code_keeps_nearly_as_much_as_principal_components(codec, statistics):
    found = report(codec, statistics)
    assert found.first_psnr > found.first_bound - 0.05
    assert found.group_psnr > found.group_bound - 0.05
    variances = torch.tensor(found.group_std) ** 2
    assert variances.mean() == pytest.approx(1, abs=0.02)
    # the order is that of the energy, and noise of rounding may swap equals
    assert (variances.diff() < 0.05).all()


def test_reported_decibels_are_those_of_decoded_clips(codec, statistics):
    clips = moving_discs(60)
    error = (codec.decode(codec.encode(clips)) - signed(clips).permute(0, 2, 3, 4, 1)).square()
    psnr = 10 * math.log10(4 / error[:, 1:].mean())
    assert report(codec, statistics).group_psnr == pytest.approx(psnr, abs=0.01)


def test_most_channels_mean_the_same_in_frame_0_and_in_a_still_group(codec):
    still = moving_discs(4, seed=9)[:, 4:5].expand(-1, 5, -1, -1, -1)
    first, group = codec.encode(still).unbind(2)
    error = (first - group).square().mean((0, 2, 3)).sqrt()
    assert (error[:3] < 0.1).all()
    assert (error < 0.15).sum() >= 6


def test_a_saved_codec_is_the_same_codec(codec, tmp_path):
    clip = moving_discs(1)
    codec.save(tmp_path / "codec.safetensors")
    loaded = LinearCodec.load(tmp_path / "codec.safetensors")
    assert torch.equal(loaded.encode(clip), codec.encode(clip))
    assert torch.equal(loaded.decode(loaded.encode(clip)), codec.decode(codec.encode(clip)))
    assert {name: tuple(getattr(loaded.stages, name).shape) for name in STAGE_SHAPES} == STAGE_SHAPES


def test_the_blocks_of_a_group_are_read_frame_row_column_colour(codec):
    clip = moving_discs(1, num_frames=5)
    pattern = "b (t k) (h y) (w x) c -> b t h w (k y x c)"
    blocks = rearrange(clip[:, 1:].float() / 127.5 - 1, pattern, k=4, y=8, x=8)
    assert blocks.shape[-1] == GROUP_PIXELS
    latents = codec.encode(clip) - codec.border(4, 6)
    expected = blocks @ codec.group_weight + codec.bias
    torch.testing.assert_close(latents[:, :, 1:].permute(0, 2, 3, 4, 1), expected, atol=1e-5, rtol=1e-5)


def test_errors_name_the_remedy(codec, tmp_path):
    with pytest.raises(ShapeError, match=r"20 x 16 .* multiples of 8"):
        codec.encode(torch.zeros(1, 1, 16, 20, 3))
    with pytest.raises(ShapeError, match=r"height, width, 3"):
        codec.encode(torch.zeros(1, 3, 1, 16, 16))
    with pytest.raises(MagrefError, match="no clips"):
        fit_codec(BlockStatistics())
    with pytest.raises(CheckpointError, match="dim 16 or more"):
        embed_encoder(codec, WanVAE(WanVAEConfig(dim=8)))


def small_options(**changes):
    rate = RateConfig(peak=2e-3, warmup=2, constant=0)
    options = {"num_steps": 8, "rate": rate, "log_steps": 4, "average": 0.5}
    return VAETrainingOptions(**{**options, **changes})


def train(vae, codec, folder, options, *, stop_after=None, encode=None):
    clips = moving_discs(8, num_frames=5)[:, :, :16, :16]
    rows = []
    is_done = train_vae(
        vae,
        lambda step: clips[step % 8 :][:1],
        options,
        folder,
        encode=encode or codec.encode,
        on_report=rows.append,
        should_stop=lambda: bool(rows) and rows[-1].step == stop_after,
    )
    assert is_done == (stop_after is None)
    return rows


def test_an_interrupted_training_goes_on_as_if_it_had_not_stopped(codec, tmp_path):
    whole, resumed = embedded_vae(codec), embedded_vae(codec)
    rows = train(whole, codec, tmp_path / "whole", small_options())
    train(embedded_vae(codec), codec, tmp_path / "parts", small_options(), stop_after=4)
    train(resumed, codec, tmp_path / "parts", small_options())
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    log = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert (
        [row.split(",")[0] for row in log[0]] == [row.split(",")[0] for row in log[1]] == ["step", "4", "8"]
    )
    assert rows[-1].step == 8


def test_training_lowers_the_error_of_the_decoder_and_leaves_the_encoder(codec, tmp_path):
    vae = WanVAE(WanVAEConfig(dim=16))
    init_weights(vae, torch.Generator().manual_seed(0))
    embed_encoder(codec, vae)
    encoder = {name: value.clone() for name, value in vae.encoder.state_dict().items()}
    clips = moving_discs(8, num_frames=9)
    before = measure_psnr(vae, clips)
    train(vae, codec, tmp_path, small_options(num_steps=15, active_levels=1))
    after = measure_psnr(vae, clips)
    assert after[0] > before[0] + 2
    assert after[1] > before[1] + 2
    assert all(torch.equal(value, encoder[name]) for name, value in vae.encoder.state_dict().items())


def test_a_state_of_another_vae_is_refused(codec, tmp_path):
    train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=1))
    assert {STATE_FILE, WEIGHTS_FILE} <= {file.name for file in tmp_path.iterdir()}
    with pytest.raises(TrainingError, match="state of another VAE: use the same one"):
        train(WanVAE(WanVAEConfig(dim=8)), codec, tmp_path, small_options(num_steps=1))


def test_a_state_of_another_run_is_refused(codec, tmp_path):
    train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=1))
    with pytest.raises(TrainingError, match=r"saved with other options \(num_steps, seed differ\)"):
        train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=2, seed=1))
    save_tensors(tmp_path / STATE_FILE, {"a": torch.zeros(1)}, {"kind": "magref_run"})
    with pytest.raises(TrainingError, match="not the state of a VAE's training"):
        train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=1))


def test_a_cut_off_state_is_told(codec, tmp_path):
    train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=1))
    whole = (tmp_path / STATE_FILE).read_bytes()
    (tmp_path / STATE_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="cut off or broken"):
        train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=1))


def test_latents_that_are_no_numbers_stop_the_run_and_the_state_before_is_kept(codec, tmp_path):
    vae, calls = embedded_vae(codec), []

    def encode(clips):
        calls.append(1)
        return codec.encode(clips) * (float("nan") if len(calls) == 3 else 1.0)

    with pytest.raises(TrainingError, match="step 2 of the VAE gave a loss of nan"):
        train(vae, codec, tmp_path, small_options(), encode=encode)
    metadata, tensors = read_state(tmp_path / STATE_FILE)
    assert metadata["step"] == "2" and all(value.isfinite().all() for value in tensors.values())


def test_an_interrupt_within_a_step_is_not_saved(codec, tmp_path, monkeypatch):
    train(embedded_vae(codec), codec, tmp_path, small_options(num_steps=8), stop_after=4)
    vae = embedded_vae(codec)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(WeightAverage, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(vae, codec, tmp_path, small_options(num_steps=8))
    assert read_state(tmp_path / STATE_FILE)[0]["step"] == "4"
