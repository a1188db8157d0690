"""The benchmark of the subjects' controls samples several prompts at once as the nodes sample each alone."""

from __future__ import annotations

import pytest
import torch

from benchmarks.support import quality_host as host
from benchmarks.support.quality_run import stage_case
from benchmarks.support.quality_sets import draw_set
from benchmarks.support.who_controls import CONTROLS, PLAIN, condition, sample, with_words
from scripts import ROOT
from scripts.training.presets import PRESETS

PRESET = PRESETS["cpu"]
CASES = [with_words(case) for case in draw_set("pairs", PRESET.scenes, PRESET.staging, count=2, seed=0)]
OPTIONS = host.SamplingOptions(steps=2)
LABELS = (
    "names bound",
    "disentangle, literal, 0.5",
    "identity strength, 2",
    "reference guider, chained, 2.5",
)


@pytest.fixture(scope="module")
def demo():
    with torch.inference_mode():
        return host.load_models(ROOT / "models" / "demo", "default")


@pytest.fixture(scope="module")
def staged(demo):
    with torch.inference_mode():
        cases = [stage_case(case) for case in CASES]
        return [(case, host.guide(demo, case.canvas, case.scene.length)) for case in cases]


def latents(demo, staged, control, numbers):
    positives = [condition(demo, *staged[number], control) for number in numbers]
    return sample(demo, positives, [CASES[number].seed for number in numbers], control, OPTIONS)


def control_of(label):
    return next(control for control in CONTROLS if control.label == label)


@pytest.mark.parametrize("label", LABELS)
def test_a_batch_gives_what_each_prompt_gives_alone(demo, staged, label):
    control = control_of(label)
    both = latents(demo, staged, control, (0, 1))
    alone = torch.cat([latents(demo, staged, control, (number,)) for number in (0, 1)])
    assert (both - alone).abs().max() <= host.CHECK_LIMIT


def test_binding_alone_changes_nothing_and_every_control_does_something(demo, staged):
    plain = latents(demo, staged, PLAIN, (0,))
    assert torch.equal(latents(demo, staged, control_of("names bound"), (0,)), plain)
    for label in LABELS[1:]:
        assert (latents(demo, staged, control_of(label), (0,)) - plain).abs().max() > 1e-3


def test_the_plain_row_is_that_of_the_quality_benchmark(demo, staged):
    prompts = [host.encode_prompt(demo, case.prompt) for case, _ in staged]
    guidances = [guidance for _, guidance in staged]
    expected = host.sample_batch(demo, prompts, guidances, [case.seed for case in CASES], OPTIONS)
    torch.testing.assert_close(latents(demo, staged, PLAIN, (0, 1)), expected, rtol=0, atol=1e-5)
