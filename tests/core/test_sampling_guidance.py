from __future__ import annotations

import pytest
import torch

from magref_core.sampling.guidance import guide

COND, UNCOND = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])


@pytest.mark.parametrize(
    ("guidance_scale", "expected"),
    [(0.0, [0.5, 3.0]), (1.0, [1.0, -2.0]), (5.0, [3.0, -22.0]), (-1.0, [0.0, 8.0])],
)
def test_the_answer_moves_along_the_line_from_uncond_through_cond(guidance_scale, expected):
    assert guide(COND, UNCOND, guidance_scale).tolist() == expected


def test_guiding_velocities_is_guiding_denoised_states():
    x, sigma = torch.tensor([0.25, 0.75]), 0.5
    from_velocities = x - sigma * guide(COND, UNCOND, 3.5)
    from_denoised = guide(x - sigma * COND, x - sigma * UNCOND, 3.5)
    torch.testing.assert_close(from_velocities, from_denoised)


def test_guiding_writes_to_neither_answer():
    cond, uncond = COND.clone(), UNCOND.clone()
    guide(cond, uncond, 5.0)
    assert torch.equal(cond, COND)
    assert torch.equal(uncond, UNCOND)
