from __future__ import annotations

import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.sampling.guidance import ReferenceGuidance, add_reference_guidance, guide

COND, UNCOND = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
ONE, ZERO = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)


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


def linear(image, text, *, a=3.0, b=-2.0):
    """A toy model whose answer is a sum of what references and prompt give."""
    return a * image + b * text


def both(form, *, text_scale, reference_scale, answer=linear):
    """Guidance by two conditions as the node puts it together; 1 is given, 0 is not."""
    guided = guide(answer(ONE, ONE), answer(ONE, ZERO), text_scale)
    if form == "joint":
        return add_reference_guidance(guided, answer(ONE, ONE), answer(ZERO, ONE), reference_scale)
    return add_reference_guidance(guided, answer(ONE, ZERO), answer(ZERO, ZERO), reference_scale)


def entangled(image, text):
    """A toy model in which the two conditions depend on each other."""
    return torch.sin(1 + image + 2 * text) + image * text


@pytest.mark.parametrize("form", ["joint", "chained"])
def test_scales_of_1_give_the_answer_for_both_conditions(form):
    for answer in (linear, entangled):
        expected = answer(ONE, ONE)
        torch.testing.assert_close(
            both(form, text_scale=1, reference_scale=1, answer=answer), expected, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("form", ["joint", "chained"])
def test_answers_that_are_all_equal_stay(form):
    guided = both(form, text_scale=7.5, reference_scale=3.0, answer=lambda image, text: COND)
    torch.testing.assert_close(guided, COND)


@pytest.mark.parametrize("form", ["joint", "chained"])
def test_each_scale_multiplies_what_its_own_condition_adds(form):
    """For a I + b T: a I (1 + s_I) + b T (1 + s_T), where s = w - 1."""
    guided = both(form, text_scale=1 + 8.0, reference_scale=1 + 3.0)
    assert guided.item() == pytest.approx(3.0 * (1 + 3.0) - 2.0 * (1 + 8.0))


def test_the_joint_form_is_the_published_equation():
    s_text, s_image = 8.0, 3.0
    full = entangled(ONE, ONE)
    expected = full + s_text * (full - entangled(ONE, ZERO)) + s_image * (full - entangled(ZERO, ONE))
    guided = both("joint", text_scale=1 + s_text, reference_scale=1 + s_image, answer=entangled)
    torch.testing.assert_close(guided, expected)


def test_the_chained_form_is_that_of_phantom():
    w_text, w_image = 7.5, 5.0
    neither, image, full = entangled(ZERO, ZERO), entangled(ONE, ZERO), entangled(ONE, ONE)
    expected = neither + w_image * (image - neither) + w_text * (full - image)
    guided = both("chained", text_scale=w_text, reference_scale=w_image, answer=entangled)
    torch.testing.assert_close(guided, expected)


def test_equal_scales_of_the_chained_form_guide_away_from_nothing():
    expected = guide(entangled(ONE, ONE), entangled(ZERO, ZERO), 4.0)
    torch.testing.assert_close(
        both("chained", text_scale=4.0, reference_scale=4.0, answer=entangled), expected
    )


@pytest.mark.parametrize("name", ["text_scale", "reference_scale"])
@pytest.mark.parametrize("value", [-0.1, 1000.0, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_refused(name, value):
    with pytest.raises(MagrefError, match=rf"the {name} is {value:g}, but must be from 0 to 30: 1 adds"):
        ReferenceGuidance(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_noise_level_out_of_range_is_refused(value):
    with pytest.raises(MagrefError, match=r"the release_sigma is .*, but noise levels go from 1 down to 0"):
        ReferenceGuidance(release_sigma=value)


def test_an_empty_range_and_an_unknown_form_are_refused():
    with pytest.raises(MagrefError, match=r"set end_sigma to at most 0.3"):
        ReferenceGuidance(start_sigma=0.3, end_sigma=0.6)
    with pytest.raises(
        MagrefError, match=r"the form is 'sum', which is unknown: choose one of joint, chained"
    ):
        ReferenceGuidance(form="sum")


def test_references_are_scaled_within_their_range_and_left_out_below_the_release():
    guidance = ReferenceGuidance(reference_scale=2.5, start_sigma=0.9, end_sigma=0.5, release_sigma=0.2)
    assert [guidance.scale_at(sigma) for sigma in (1.0, 0.9, 0.5, 0.4)] == [1.0, 2.5, 2.5, 1.0]
    assert [guidance.is_released_at(sigma) for sigma in (0.5, 0.2, 0.19)] == [False, False, True]
    assert guidance.leaves_out and not ReferenceGuidance().leaves_out
    assert not ReferenceGuidance().is_released_at(0.0)
