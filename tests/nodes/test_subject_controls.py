"""The controls of subjects in the host: who gets them, what they leave alone, and what refuses them."""

from __future__ import annotations

import math

import pytest
import torch
from magref_pack.magref_core.canvas.compose import compose_canvas
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.errors import MagrefError
from magref_pack.magref_core.subjects.spans import Binding, BoundSubject
from magref_pack.nodes import guidance, subject_model, subjects
from magref_pack.nodes.guidance import ApplyMaskedGuidance
from magref_pack.nodes.guider import ReferenceGuider
from magref_pack.nodes.subject_model import CONTROLS
from magref_pack.nodes.subject_places import BINDING, CANVAS
from magref_pack.nodes.subjects import BindSubjects

import nodes

from . import models, runs, subject_runs
from .controlled_runs import (
    FRAMES,
    KINDS,
    ONLY_DISENTANGLE,
    ONLY_STRENGTH,
    bound_pair,
    canvas,
    controlled,
    each_control,
    spied,
    zero,
)
from .test_compat_windows import with_windows


@each_control
def test_the_positive_alone_is_controlled_and_shares_its_forward_with_the_negative(node, values):
    model = runs.our_model()
    watched, plans = spied(model)
    runs.sample(watched, pair=controlled(model, node, values), steps=1)
    ((plan, context, rows),) = plans
    (one,) = plan.injections or plan.boosts
    assert one.rows == (rows.index(0), rows.index(0) + 1)
    assert torch.equal(context[one.rows[0]], bound_pair()[0][0][0][0])


@each_control
def test_the_negative_is_left_as_it_is(node, values):
    """At guidance 0 the answer is that to the negative prompt."""
    model = runs.our_model()
    plain = runs.sample(model, pair=runs.prompts(), cfg=0.0)
    result = runs.sample(model, pair=controlled(model, node, values), cfg=0.0)
    torch.testing.assert_close(result, plain, rtol=0, atol=1e-4)


@each_control
def test_each_video_of_a_batch_is_controlled(node, values):
    model = runs.our_model()
    watched, plans = spied(model)
    runs.sample(watched, pair=controlled(model, node, values), latent=runs.empty(batch=2), steps=1)
    (one,) = plans[0][0].injections or plans[0][0].boosts
    assert one.rows[1] - one.rows[0] == 2


@each_control
@pytest.mark.parametrize("retain", [True, False])
def test_windows_are_controlled_where_they_hold_the_canvas(node, values, retain):
    model = runs.our_model()
    watched, plans = spied(with_windows(model, retain=retain))
    pair = controlled(model, node, values, bound_pair(frames=FRAMES))
    runs.sample(watched, pair=pair, latent=runs.empty(frames=FRAMES), steps=1)
    assert [plan is not None for plan, _, _ in plans] == [True, retain, retain]


def test_both_controls_may_be_asked_for_and_taken_back():
    model = runs.our_model()
    first, negative = controlled(model, *ONLY_DISENTANGLE)
    both, _ = controlled(model, *ONLY_STRENGTH, pair=(first, negative))
    controls = both[0][1][CONTROLS]
    assert controls.disentanglement is not None and controls.identity is not None
    assert first[0][1][CONTROLS].identity is None, "what is given stays as it was"
    back, _ = controlled(model, *ONLY_STRENGTH, pair=(both, negative), strength=0.0)
    expected = runs.sample(model, pair=(first, negative))
    assert torch.equal(runs.sample(model, pair=(back, negative)), expected)


def test_subjects_may_have_numbers_of_their_own():
    model = runs.our_model()
    positive, _ = controlled(model, *ONLY_STRENGTH, subjects="girl: 2, mug: 0")
    assert positive[0][1][CONTROLS].identity.strengths == (2.0, 0.0)


@each_control
def test_a_model_of_the_host_refuses_controls(node, values):
    with pytest.raises(MagrefError, match="not from MAGREF DiT Loader"):
        controlled(runs.native_model(), node, values)
    pair = controlled(runs.our_model(), node, values)
    with pytest.raises(MagrefError, match="not from MAGREF DiT Loader"):
        runs.sample(runs.native_model(), pair=pair)
    resting = controlled(runs.our_model(), node, values, **zero(node))
    assert torch.isfinite(runs.sample(runs.native_model(), pair=resting)).all()


@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        (ONLY_DISENTANGLE, "cross_attn", "cross-attention"),
        (ONLY_STRENGTH, "self_attn", "self-attention"),
        (ONLY_STRENGTH, None, "block"),
    ],
)
def test_parts_that_other_nodes_have_replaced_are_told_of(kind, place, name):
    model = runs.our_model()
    key = "diffusion_model.blocks.1" + (f".{place}" if place else "")
    other = model.clone()
    other.add_object_patch(f"{key}.forward", model.get_model_object(key).forward)
    with pytest.raises(MagrefError, match=f"put a {name} of its own into the model"):
        runs.sample(other, pair=controlled(model, *kind))


@pytest.mark.parametrize("value", [-0.1, 1000.0, float("nan")])
def test_an_alpha_out_of_range_is_refused(value):
    with pytest.raises(MagrefError, match=r"alpha is .+, but must be from 0 to 2"):
        controlled(runs.our_model(), *ONLY_DISENTANGLE, alpha=value)


@pytest.mark.parametrize("value", [-3.0, 1000.0, float("nan")])
def test_a_strength_out_of_range_is_refused(value):
    with pytest.raises(MagrefError, match=r"strength is .+, but must be from -2 to 4"):
        controlled(runs.our_model(), *ONLY_STRENGTH, strength=value)


def test_a_negative_strength_weakens_as_much_as_e_to_it():
    model = runs.our_model()
    for strength in (-1.0, 1.0):
        watched, plans = spied(model)
        pair = controlled(model, *ONLY_STRENGTH, strength=strength)
        assert torch.isfinite(runs.sample(watched, pair=pair, steps=1)).all()
        (boost,) = plans[0][0].boosts
        assert boost.factors == (math.expm1(strength),) * 2 and not boost.near


def test_near_is_handed_on_and_changes_the_video():
    model = runs.our_model()
    watched, plans = spied(model)
    near = runs.sample(watched, pair=controlled(model, *ONLY_STRENGTH, reach="near", subjects="mug: 0"))
    assert plans[0][0].boosts[0].near and len(plans[0][0].boosts[0].keys) == 2
    everywhere = runs.sample(model, pair=controlled(model, *ONLY_STRENGTH, subjects="mug: 0"))
    assert runs.largest_difference(near, everywhere) > 1e-4


@pytest.mark.parametrize("number", ["nan", "1000", "-9"])
def test_a_number_of_a_subject_out_of_range_is_refused(number):
    for kind, what in ((ONLY_DISENTANGLE, "alpha"), (ONLY_STRENGTH, "strength")):
        with pytest.raises(MagrefError, match=rf"{what} is .+, but must be from"):
            controlled(runs.our_model(), *kind, subjects=f"girl: {number}")


@each_control
def test_a_prompt_that_does_not_say_who_is_who_is_refused(node, values):
    model, (positive, negative) = runs.our_model(), bound_pair()
    text, extras = positive[0]
    for missing, sentence in ((BINDING, "does not say who is who"), (CANVAS, "where the subjects are")):
        lacking = [[text, {key: value for key, value in extras.items() if key != missing}]]
        with pytest.raises(MagrefError, match=sentence):
            controlled(model, node, values, (lacking, negative))
    with pytest.raises(MagrefError, match="does not say who is who"):
        controlled(model, node, values, ([], negative))


def unnamed_pair():
    positive, negative = bound_pair()
    text, extras = positive[0]
    girl = extras[BINDING].subjects[0]
    mug = BoundSubject(name="mug", word="mug", how="missing", positions=(), pieces=())
    return [[text, extras | {BINDING: Binding(prompt="", num_tokens=6, subjects=(girl, mug))}]], negative


def test_who_is_not_named_gets_no_words_and_an_alpha_of_its_own_is_an_error():
    model = runs.our_model()
    positive, _ = controlled(model, *ONLY_DISENTANGLE, pair=unnamed_pair())
    assert positive[0][1][CONTROLS].disentanglement.alphas == (0.5, 0.0)
    with pytest.raises(MagrefError, match="an alpha is set for 'mug', but the prompt does not name it"):
        controlled(model, *ONLY_DISENTANGLE, pair=unnamed_pair(), subjects="mug: 1")
    strengths = controlled(model, *ONLY_STRENGTH, pair=unnamed_pair())[0][0][1][CONTROLS].identity.strengths
    assert strengths == (1.0, 1.0), "looking at a picture needs no word"


def test_a_prompt_that_names_nobody_is_refused():
    positive, negative = bound_pair()
    text, extras = positive[0]
    lost = tuple(
        BoundSubject(name=name, word=name, how="missing", positions=(), pieces=()) for name in ("girl", "mug")
    )
    pair = [[text, extras | {BINDING: Binding(prompt="", num_tokens=6, subjects=lost)}]], negative
    with pytest.raises(MagrefError, match="the prompt names no subject"):
        controlled(runs.our_model(), *ONLY_DISENTANGLE, pair=pair)


def test_another_attention_is_told_once_that_it_rests(caplog):
    model = runs.our_model()
    other = model.clone()
    calls = []

    def override(attention, *args, **kwargs):
        calls.append(1)
        return attention(*args, **kwargs)

    other.model_options["transformer_options"]["optimized_attention_override"] = override
    subject_model._log_attention.cache_clear()
    pair = controlled(model, *ONLY_STRENGTH)
    with caplog.at_level("INFO"):
        result = runs.sample(other, pair=pair)
    said = [record.getMessage() for record in caplog.records if "log-sum-exp" in record.getMessage()]
    assert len(said) == 1
    assert "which the attention that another node has chosen does not tell" in said[0]
    assert calls, "the rest of the model still uses it"
    assert runs.largest_difference(result, runs.sample(model, pair=pair)) < 1e-4


@each_control
def test_where_references_are_left_out_nothing_is_asked_of_subjects(node, values):
    model = runs.our_model()
    positive, negative = controlled(model, node, values)
    made = ReferenceGuider.execute(model, positive, negative, 5.0, 2.5, "joint", 1.0, 0.0, 0.0, "zeros").args[
        0
    ]
    assert CONTROLS in made.original_conds["positive"][0]
    (bare,) = made.original_conds["bare positive"]
    assert CONTROLS not in bare and "concat_mask_index" not in bare
    assert not bare["clip_vision_output"].penultimate_hidden_states.any()


def test_from_names_to_a_controlled_video():
    placed = canvas()
    conditioning, prompt, report = BindSubjects.execute(
        subject_runs.clip(), "@girl hands (the @mug:1.2) over", placed
    ).args
    assert prompt == "girl hands (the mug:1.2) over"
    assert '"how": "mention"' in report
    positive, negative, latent = ApplyMaskedGuidance.execute(
        conditioning, models.conditioning(2, seed=2), models.vae(), models.clip_vision(), placed, 5
    ).args
    model = runs.our_model()
    plain = runs.sample(model, pair=(positive, negative), latent=latent)
    for node, values in KINDS:
        pair = controlled(model, node, values, (positive, negative))
        assert runs.largest_difference(runs.sample(model, pair=pair, latent=latent), plain) > 1e-3


def test_binding_encodes_the_prompt_as_the_hosts_own_node():
    clip, given = subject_runs.clip(), canvas().references
    bound = BindSubjects.execute(clip, "a @girl", given).args[0]
    (plain,) = nodes.CLIPTextEncode().encode(clip, "a girl")
    assert torch.equal(bound[0][0], plain[0][0])


def test_the_node_shows_who_is_found_and_by_which_tokens(monkeypatch):
    shown = []
    monkeypatch.setattr(
        subjects, "show_notices", lambda said, hidden, facts: shown.append((list(said), list(facts)))
    )
    binding = BindSubjects.execute(subject_runs.clip(), "a @girl", canvas()).args[0][0][1][BINDING]
    ((said, facts),) = shown
    assert said == list(binding.warnings()) and any("does not name 'mug'" in sentence for sentence in said)
    assert facts == list(binding.sentences()) and any("girl" in fact for fact in facts)


def test_the_prompt_that_binding_gives_is_not_called_nameless(monkeypatch):
    told = []
    monkeypatch.setattr(guidance, "show_notices", lambda said, hidden: told.extend(said))
    given = (subject_runs.reference("ann", word="girl"), subject_runs.reference("mug", seed=1))
    placed = compose_canvas(given, arrange([(32, 32)] * 2, height=32, width=48, seed=0), height=32, width=48)
    conditioning, prompt, _ = BindSubjects.execute(subject_runs.clip(), "@ann waves", placed).args
    ApplyMaskedGuidance.execute(
        conditioning, models.conditioning(2, seed=2), models.vae(), models.clip_vision(), placed, 5, prompt
    )
    assert [sentence for sentence in told if "does not name" in sentence] == [told[0]] and "'mug'" in told[0]


def test_without_a_text_encoder_or_a_known_name_there_is_a_sentence():
    with pytest.raises(MagrefError, match="there is no text encoder"):
        BindSubjects.execute(None, "a @girl", canvas())
    with pytest.raises(
        MagrefError, match="the prompt says @grl, but no reference is called so: did you mean @girl"
    ):
        BindSubjects.execute(subject_runs.clip(), "a @grl", canvas())


def test_a_subject_that_the_canvas_lacks_is_named():
    model, (positive, negative) = runs.our_model(), bound_pair()
    positive[0][1][CANVAS] = positive[0][1][CANVAS] | {"names": ["girl", "cup"]}
    with pytest.raises(MagrefError, match="was given the subject 'mug', but the canvas holds only girl, cup"):
        controlled(model, *ONLY_STRENGTH, pair=(positive, negative))
