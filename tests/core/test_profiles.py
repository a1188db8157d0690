from __future__ import annotations

import pytest

from magref_core.errors import MagrefError
from magref_core.sampling.profiles import FEW_STEPS, PROFILES, Tally, plan_run, plan_sentence


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_exact_leaves_nothing_out(guidance_scale):
    plan = plan_run("exact", 40, guidance_scale)
    assert plan.steps == 40
    assert not plan.reuses and not plan.has_interval
    assert all(plan.is_guided_at(sigma) for sigma in (1.0, 0.5, 0.0))
    assert plan_sentence(plan, 40, guidance_scale) == "exact: changes nothing in this run"


def test_each_profile_leaves_out_more_than_the_one_before():
    exact, balanced, draft = PROFILES.values()
    assert exact.step_share > balanced.step_share > draft.step_share
    assert exact.reuse_threshold < balanced.reuse_threshold < draft.reuse_threshold
    assert exact.guidance_end <= balanced.guidance_end < draft.guidance_end


def test_a_run_without_guidance_has_no_interval():
    plan = plan_run("draft", 40, 1.0)
    assert plan.reuses and not plan.has_interval
    assert plan.is_guided_at(0.0)
    assert "guidance" not in plan_sentence(plan, 40, 1.0)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("steps", [1, 4, FEW_STEPS])
def test_the_few_steps_of_a_distilled_model_are_all_taken_and_computed(name, steps):
    plan = plan_run(name, steps, 1.0)
    assert plan.steps == steps
    assert plan_sentence(plan, steps, 1.0) == f"{name}: changes nothing in this run"


@pytest.mark.parametrize(("steps", "left"), [(9, 8), (16, 8), (17, 9), (40, 20)])
def test_a_draft_takes_half_the_steps_and_no_fewer_than_eight(steps, left):
    assert plan_run("draft", steps, 5.0).steps == left


def test_the_interval_of_guidance_is_closed_at_both_ends():
    plan = plan_run("draft", 40, 5.0)
    end = plan.profile.guidance_end
    assert [plan.is_guided_at(sigma) for sigma in (1.0, end, end - 1e-6, 0.0)] == [True, True, False, False]


def test_the_sentence_names_everything_that_is_left_out():
    plan = plan_run("draft", 40, 5.0)
    said = plan_sentence(plan, 40, 5.0)
    part = plan.profile
    assert said == (
        f"draft: 20 steps in place of 40; guidance 5 from sigma 1 down to {part.guidance_end:g} and none "
        f"elsewhere; EasyCache reuses answers below a change of {part.reuse_threshold:g}, from 15% to 95% of "
        "the run"
    )


def test_a_tally_tells_where_guidance_begins_and_ends():
    tally = Tally()
    assert [tally.begin_step(guided) for guided in (True, True, False, False, True)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    tally.asked, tally.computed = 8, 5
    assert tally.sentence("draft") == (
        "draft: 5 steps, 3 of them guided; 5 answers of the model computed, 3 reused"
    )
    always = Tally(steps=2, guided_steps=2, asked=4, computed=4)
    assert always.sentence("balanced") == "balanced: 2 steps; 4 answers of the model computed, 0 reused"


def test_what_is_no_profile_or_no_run_is_refused():
    with pytest.raises(MagrefError, match="the profile is 'fast', which is unknown: choose one of exact"):
        plan_run("fast", 40, 5.0)
    with pytest.raises(MagrefError, match="given 0 steps, but a run has at least 1: set steps to 40"):
        plan_run("exact", 0, 5.0)
