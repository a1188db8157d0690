"""Which attention the DiT has on a CPU, and that it answers as native Wan does with the host's own."""

from __future__ import annotations

import comfy.cli_args
import comfy.ldm.modules.attention as host_attention
import comfy.ldm.wan.model
import pytest
import torch
from magref_pack.nodes.attention import chosen_attention

from . import runs


@pytest.mark.parametrize(("cfg", "steps", "limit"), [(1.0, 1, 1e-4), (5.0, 4, 1e-3)])
def test_native_wan_as_it_is_on_a_cpu_differs_by_rounding(cfg, steps, limit):
    """Nothing is set here: the host takes its fallback for its own Wan, and ours PyTorch's attention.

    Guidance and steps amplify what rounding makes different: 6e-5 in one step, 2e-4 in four guided ones.
    """
    assert comfy.ldm.wan.model.optimized_attention is host_attention.attention_sub_quad
    ours = runs.sample(runs.our_model(), cfg=cfg, steps=steps)
    native = runs.sample(runs.native_model(), cfg=cfg, steps=steps)
    assert 0 < runs.largest_difference(ours, native) <= limit


def test_the_attention_is_the_hosts_choice_but_for_its_fallback_on_a_cpu(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_sub_quad)
    assert chosen_attention(cpu) is host_attention.attention_pytorch
    assert chosen_attention(cuda) is host_attention.attention_sub_quad
    monkeypatch.setattr(comfy.cli_args.args, "use_quad_cross_attention", True)
    assert chosen_attention(cpu) is host_attention.attention_sub_quad
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_split)
    assert chosen_attention(cpu) is host_attention.attention_split
