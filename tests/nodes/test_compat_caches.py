"""The host's step caches skip our DiT where they skip native Wan, and change nothing else."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from . import runs

pytestmark = pytest.mark.usefixtures("one_attention")

STEPS = 8
CFG = 2.0
THRESHOLDS = {EasyCacheNode: 0.9, LazyCacheNode: 0.6}
"""High, as the answers of random weights change far faster from step to step than those of trained ones."""
NODES = list(THRESHOLDS)


def cached(node, model, threshold):
    """With the whole run open to skipping."""
    return node.execute(model, threshold, 0.0, 1.0, False).args[0]


def run(model, sample=runs.sample, seed=7):
    """Latents, and the timesteps at which the DiT was really run."""
    watched, calls = runs.watch(model)
    result = sample(watched, steps=STEPS, cfg=CFG, seed=seed)
    return result, [call["t"][0].item() for call in calls]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("sample", [runs.sample, runs.magref_sample])
def test_a_cache_with_threshold_0_changes_nothing(node, sample):
    model = runs.our_model()
    plain, all_steps = run(model, sample)
    result, steps = run(cached(node, model, 0.0), sample)
    assert steps == all_steps
    assert len(steps) == STEPS
    assert torch.equal(result, plain)


@pytest.mark.parametrize("node", NODES)
def test_a_cache_skips_the_steps_that_native_wan_skips(node):
    ours, our_steps = run(cached(node, runs.our_model(), THRESHOLDS[node]))
    native, native_steps = run(cached(node, runs.native_model(), THRESHOLDS[node]))
    assert STEPS // 2 <= len(our_steps) < STEPS
    assert our_steps == native_steps
    assert runs.largest_difference(ours, native) <= 5e-4


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("sample", [runs.sample, runs.magref_sample])
def test_a_cache_that_skips_steps_stays_near_the_full_answer(node, sample):
    model = runs.our_model()
    plain, all_steps = run(model, sample)
    result, steps = run(cached(node, model, THRESHOLDS[node]), sample)
    assert set(steps) < set(all_steps)
    to_another_seed = runs.relative_difference(run(model, sample, seed=8)[0], plain)
    assert 0 < runs.relative_difference(result, plain) <= to_another_seed / 3
