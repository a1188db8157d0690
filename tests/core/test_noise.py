from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from magref_core.sampling.noise import gaussian_noise

PIPELINE = Path(__file__).parents[1] / "golden" / "data" / "pipeline.safetensors"


@pytest.mark.parametrize(("run", "seed"), [("unipc17", 3407), ("dpm81", 7)])
def test_the_noise_is_the_one_the_official_runs_started_from(run, seed):
    with safe_open(PIPELINE, "pt") as file:
        official = file.get_tensor(f"{run}.latents")[0]
    assert torch.equal(gaussian_noise(official.shape, seed), official)


def test_a_leading_1_changes_no_number():
    assert torch.equal(gaussian_noise((1, 16, 3, 4, 6), 7)[0], gaussian_noise((16, 3, 4, 6), 7))


def test_each_seed_has_noise_of_its_own():
    shape = (16, 2, 4, 4)
    assert torch.equal(gaussian_noise(shape, 1), gaussian_noise(shape, 1))
    assert not torch.equal(gaussian_noise(shape, 1), gaussian_noise(shape, 2))
    assert not torch.equal(gaussian_noise(shape, 2**64 - 1), gaussian_noise(shape, 0))


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = gaussian_noise((16, 2, 4, 4), 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(gaussian_noise((16, 2, 4, 4), 3), first)


def test_the_noise_is_standard_normal():
    noise = gaussian_noise((16, 21, 32, 32), 11)
    assert noise.mean().abs() < 0.01
    assert abs(noise.std() - 1) < 0.01


def test_the_noise_has_the_dtype_that_is_asked_for():
    assert gaussian_noise((16, 1, 2, 2), 0, dtype=torch.float64).dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_its_own_numbers_and_keeps_them():
    noise = gaussian_noise((16, 2, 4, 4), 3, device="cuda")
    generator = torch.Generator("cuda").manual_seed(3)
    assert noise.device.type == "cuda"
    assert torch.equal(noise, torch.randn(16, 2, 4, 4, generator=generator, device="cuda"))
