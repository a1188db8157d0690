"""The host's step caches see our DiT as a whole: they skip it as they skip native Wan, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_custom_sampler import SamplerCustom
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from magref_pack.nodes.sampling import MagrefSchedule, MagrefSolver

from . import models, runs

STEPS = 8
CFG = 2.0
THRESHOLDS = {EasyCacheNode: 0.9, LazyCacheNode: 0.6}
"""High, as the answers of random weights change far faster from step to step than those of trained ones."""
NODES = list(THRESHOLDS)


def cached(node, model, threshold):
    """With the whole run open to skipping."""
    return node.execute(model, threshold, 0.0, 1.0, False).args[0]


def run(model, seed=7):
    """Latents, and the timesteps at which the DiT was really run."""
    watched, calls = runs.watch(model)
    result = runs.sample(watched, steps=STEPS, cfg=CFG, seed=seed)
    return result, [call["t"][0].item() for call in calls]


def magref_run(model, seed=7):
    """As `run`, with our SAMPLER and whole timesteps."""
    watched, calls = runs.watch(model)
    sampler = MagrefSolver.execute("unipc", True).args[0]
    sigmas = MagrefSchedule.execute("unipc", STEPS, 3.0).args[0]
    result = SamplerCustom.execute(watched, True, seed, CFG, *runs.prompts(), sampler, sigmas, runs.empty())
    return result.args[0]["samples"], [call["t"][0].item() for call in calls]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("sampling", [run, magref_run])
def test_a_cache_with_threshold_0_changes_nothing(node, sampling):
    model = models.our_model()
    plain, all_steps = sampling(model)
    result, steps = sampling(cached(node, model, 0.0))
    assert steps == all_steps
    assert len(steps) == STEPS
    assert torch.equal(result, plain)


@pytest.mark.parametrize("node", NODES)
def test_a_cache_skips_the_steps_that_native_wan_skips(node):
    ours, our_steps = run(cached(node, models.our_model(), THRESHOLDS[node]))
    native, native_steps = run(cached(node, runs.native_model(), THRESHOLDS[node]))
    assert STEPS // 2 <= len(our_steps) < STEPS
    assert our_steps == native_steps
    assert runs.largest_difference(ours, native) <= 5e-4


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("sampling", [run, magref_run])
def test_a_cache_that_skips_steps_stays_near_the_full_answer(node, sampling):
    model = models.our_model()
    plain, all_steps = sampling(model)
    result, steps = sampling(cached(node, model, THRESHOLDS[node]))
    assert set(steps) < set(all_steps)
    to_another_seed = runs.relative_difference(sampling(model, seed=8)[0], plain)
    assert 0 < runs.relative_difference(result, plain) <= to_another_seed / 3
