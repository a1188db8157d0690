from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.dit_speed import report, table
from benchmarks.support.dit_models import (
    CPU_SHAPE,
    GPU_SHAPE,
    IMAGE_TOKENS,
    PACK,
    Shape,
    attentions,
    forward_flops,
    random_weights,
)
from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT

MIB = 2**20

TINY = Shape(
    config=DiTConfig(dim=64, ffn_dim=96, num_heads=2, num_layers=3), latent=(3, 4, 6), dtype=torch.float32
)


def plain_attention(q, k, v, *, heads, transformer_options):
    """Two products that the counter sees."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)


def test_the_formula_counts_what_pytorch_counts():
    config = TINY.config
    model = MagrefDiT(config, Backend(attention=plain_attention, device="meta"))
    x = torch.zeros(1, config.in_dim, *TINY.latent, device="meta")
    prompt = torch.zeros(1, config.text_len, config.text_dim, device="meta")
    image = torch.zeros(1, IMAGE_TOKENS, config.clip_dim, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x, torch.zeros(1, device="meta"), prompt, image)
    assert forward_flops(TINY) == counter.get_total_flops()


def test_the_shapes_are_2000_tokens_on_a_cpu_and_32760_on_a_gpu():
    assert (CPU_SHAPE.num_tokens, GPU_SHAPE.num_tokens) == (2000, 32760)


def test_the_weights_are_the_same_at_every_call_and_fill_the_whole_model():
    first, second = random_weights(TINY, "cpu"), random_weights(TINY, "cpu")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(values.count_nonzero() == values.numel() for values in first.values())
    MagrefDiT(TINY.config).load_state_dict(first)


def result(ours: list[float], native: list[float], activations: dict[str, int | None]) -> dict:
    return {
        "seconds": {"ours": ours, "native": native},
        "own_cpu_seconds": {"ours": [3.0], "native": [2.0]},
        "weight_bytes": 900 * MIB,
        "activation_bytes": activations,
        "forward_flops": 10**12,
        "matmul_flops_per_second": 5e11,
    }


def test_ratios_above_their_limits_are_called_missed():
    slow = table(result([1.04, 9.0, 1.0], [1.0, 1.0, 1.5], {"ours": 130 * MIB, "native": 100 * MIB}))
    assert "| time, median | 1.040 s | 1.000 s | 1.040 |" in slow
    assert "| processor time, median | 3.000 s | 2.000 s | 1.500 |" in slow
    assert "| peak memory | 1030 MiB | 1000 MiB | 1.030 |" in slow
    assert "time 1.040, limit 1.03: MISSED; peak memory 1.030, limit 1.02: MISSED." in slow


def test_ratios_within_their_limits_are_called_within():
    level = table(result([1.03], [1.0], {"ours": 120 * MIB, "native": 100 * MIB}))
    assert "| times the floor, median | 0.52 | 0.50 | 1.030 |" in level
    assert "time 1.030, limit 1.03: within; peak memory 1.020, limit 1.02: within." in level


def test_memory_that_cannot_be_told_is_said_to_be_unmeasured():
    assert "peak memory not measured" in table(result([1.0], [1.0], {"ours": None, "native": None}))


def test_each_attention_is_asked_of_what_chooses_it(monkeypatch):
    def fused():
        pass

    def slices():
        pass

    def choose(device):
        return fused if device.type == "cpu" else slices

    monkeypatch.setitem(sys.modules, PACK, SimpleNamespace())
    monkeypatch.setitem(sys.modules, f"{PACK}.nodes.attention", SimpleNamespace(chosen_attention=choose))
    host = SimpleNamespace(optimized_attention=slices)
    monkeypatch.setitem(sys.modules, "comfy.ldm.modules.attention", host)
    assert attentions("cpu") == {"ours": "fused", "native": "slices"}
    assert attentions("cuda") == {"ours": "slices", "native": "slices"}


def test_the_report_names_the_attention_of_each_model():
    full = result([1.0], [1.0], {"ours": MIB, "native": MIB}) | {
        "date": "2026-01-01",
        "commit": "abc",
        "device": "cpu",
        "machine": {"cores": 2},
        "comfyui": "0.30.0",
        "attentions": {"ours": "attention_pytorch", "native": "attention_sub_quad"},
        "shape": {
            "dim": 64,
            "ffn_dim": 96,
            "num_heads": 2,
            "num_layers": 3,
            "latent": (3, 4, 6),
            "num_tokens": 18,
            "dtype": "float32",
        },
        "rounds_run": 1,
        "foreign_cores": 0.0,
        "largest_difference": 1e-5,
    }
    assert "Attention: ours `attention_pytorch`, native `attention_sub_quad`." in report(full)


def test_the_peak_of_a_call_is_what_it_holds_at_once_and_not_what_it_keeps():
    machine = pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)

    def call() -> None:
        for _ in range(3):
            torch.ones(16 * MIB)  # 64 MiB in float32, freed at once

    peak = machine.peak_bytes(call, "cpu")
    if peak is None:
        pytest.skip("only Linux tells the peak of a call")
    assert 60 * MIB < peak < 100 * MIB


def test_waiting_takes_time_but_no_processor():
    machine = pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)
    timing = machine.time_call(lambda: time.sleep(0.2), "cpu")
    assert timing.seconds >= 0.2
    assert timing.own_cpu_seconds < 0.1
    assert timing.foreign_cores >= 0
