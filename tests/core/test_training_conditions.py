import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.training.conditions import Conditions, DropConfig, drop_conditions, guidance_channels

NEVER = DropConfig(text=0, references=0)
ALWAYS = DropConfig(text=1, references=1)
EMPTY = torch.tensor([1, 0, 0])


def conditions(count, *, ids=False, image_tokens=True):
    """Conditions without a single 0."""
    return Conditions(
        canvas_latents=torch.full((count, 16, 2, 1, 1), 3.0),
        latent_mask=torch.ones(count, 1, 1),
        image_tokens=torch.full((count, 2, 3), -1.0) if image_tokens else None,
        text=torch.full((count, 3), 7) if ids else torch.full((count, 3, 2), 0.5),
    )


def rate(dropped):
    return dropped.float().mean().item()


def test_text_and_references_are_dropped_at_their_rates_and_independently():
    count = 20_000
    out = drop_conditions(conditions(count), DropConfig(), torch.Generator().manual_seed(0))
    no_text = (out.text == 0).flatten(1).all(1)
    no_references = (out.canvas_latents == 0).flatten(1).all(1)
    assert rate(no_text) == pytest.approx(0.10, abs=0.005)
    assert rate(no_references) == pytest.approx(0.10, abs=0.005)
    assert rate(no_text & no_references) == pytest.approx(0.01, abs=0.003)


def test_what_is_dropped_is_exactly_0_and_what_is_kept_is_exactly_as_it_was():
    given = conditions(200)
    out = drop_conditions(given, DropConfig(text=0.5, references=0.5), torch.Generator().manual_seed(0))
    no_text = (out.text == 0).flatten(1).any(1)
    no_references = (out.canvas_latents == 0).flatten(1).any(1)
    assert 0 < no_text.sum() < 200
    assert torch.equal(out.text, given.text * ~no_text.view(-1, 1, 1))
    for name in ("canvas_latents", "latent_mask", "image_tokens"):
        before, after = getattr(given, name), getattr(out, name)
        kept = ~no_references.view(-1, *[1] * (before.ndim - 1))
        assert torch.equal(after, before * kept), name


@pytest.mark.parametrize("ids", [True, False])
def test_a_dropped_prompt_becomes_an_empty_one(ids):
    given = conditions(50, ids=ids)
    empty = EMPTY if ids else torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]])
    config = DropConfig(text=0.5, references=0)
    out = drop_conditions(given, config, torch.Generator().manual_seed(0), empty_text=empty)
    dropped = (out.text == empty).flatten(1).all(1)
    assert 0 < dropped.sum() < 50
    assert torch.equal(out.text[~dropped], given.text[~dropped])
    assert out.text.dtype == given.text.dtype


@pytest.mark.parametrize("config", [NEVER, ALWAYS])
def test_the_given_tensors_stay_as_they_are(config):
    given, untouched = conditions(3, ids=True), conditions(3, ids=True)
    out = drop_conditions(given, config, torch.Generator().manual_seed(0), empty_text=EMPTY)
    for name in ("canvas_latents", "latent_mask", "image_tokens", "text"):
        assert torch.equal(getattr(given, name), getattr(untouched, name)), name
        if config is NEVER:
            assert torch.equal(getattr(out, name), getattr(given, name)), name


def test_a_model_without_image_tokens_gets_none():
    out = drop_conditions(conditions(3, image_tokens=False), ALWAYS, torch.Generator().manual_seed(0))
    assert out.image_tokens is None


def test_the_draws_follow_from_the_seed_alone():
    def dropped(seed, config):
        out = drop_conditions(conditions(64), config, torch.Generator().manual_seed(seed))
        return out.text[:, 0, 0] == 0

    config = DropConfig(text=0.5)
    assert torch.equal(dropped(1, config), dropped(1, config))
    assert torch.equal(dropped(1, config), dropped(1, DropConfig(text=0.5, references=0.9)))
    assert not torch.equal(dropped(1, config), dropped(2, config))


def test_the_mask_fills_the_four_channels_of_the_first_latent_frame():
    given = Conditions(
        canvas_latents=torch.randn(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
        latent_mask=torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]),
        image_tokens=None,
        text=torch.zeros(1, 3),
    )
    channels = guidance_channels(given)
    assert channels.shape == (1, 20, 3, 2, 2)
    assert torch.equal(channels[:, 4:], given.canvas_latents)
    for channel in range(4):
        assert torch.equal(channels[:, channel, 0], given.latent_mask)
    assert not channels[:, :4, 1:].any()


@pytest.mark.parametrize("change", [{"text": 1.1}, {"references": -0.1}, {"text": float("nan")}])
def test_a_rate_outside_0_to_1_is_refused(change):
    with pytest.raises(
        MagrefError, match=r"the drop rate of (text|references) is .*, but must be from 0 to 1"
    ):
        DropConfig(**change)
