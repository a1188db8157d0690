from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks.run_speed import (
    VARIANTS,
    around_table,
    read_arguments,
    report,
    run_table,
    saving_table,
    variants_on,
)
from benchmarks.support import speed_ways
from benchmarks.support.dit_models import PACK
from benchmarks.support.speed_vae import Clocked


def timings(seconds: float, own: float) -> dict[str, list[float]]:
    """Three rounds about a median."""
    return {"seconds": [seconds * 0.9, seconds, seconds * 5], "own_cpu_seconds": [own, own, own * 3]}


def result(*, ours: float = 90.0, overhead: float = 0.5, encode: float = 10.0) -> dict:
    """Of a native run of 100 s."""
    return {
        "date": "2026-01-01",
        "commit": "abc",
        "device": "cpu",
        "machine": {"cores": 2},
        "comfyui": "0.30.0",
        "attention": "attention_sub_quad",
        "shape": {
            "dim": 1024,
            "ffn_dim": 4096,
            "num_heads": 8,
            "num_layers": 8,
            "latent": (5, 40, 40),
            "num_tokens": 2000,
            "dtype": "float32",
        },
        "steps": 20,
        "row_steps": 2,
        "rounds": 3,
        "vae_dim": 96,
        "variants": [],
        "first_seconds": {},
        "faults": {},
        "step_flops": 10**12,
        "matmul_flops_per_second": 2.5e11,
        "runs": {"ours": timings(ours, 2 * ours), "native": timings(100.0, 200.0)},
        "rows": {"native": timings(10.0, 20.0), "ours": timings(8.0, 16.0), "ours, less": timings(9.0, 18.0)},
        "differences": {"native": 1e-5, "ours": 0.0, "ours, less": 0.0},
        "around": {
            "overhead_seconds": [overhead, overhead, 9.0],
            "encode": {"ours": timings(encode, 20.0), "native": timings(10.0, 20.0)},
            "decode": {"ours": timings(10.1, 20.0), "native": timings(10.0, 20.0)},
        },
    }


def test_a_run_is_compared_by_the_median_with_native_and_with_the_floor():
    text = run_table(result(ours=95.0))
    assert "| time of the run, median | 95.000 s | 100.000 s | 0.950 |" in text
    assert "| processor time, median | 190.000 s | 200.000 s | 0.950 |" in text
    assert "| time of a step | 4.750 s | 5.000 s | 0.950 |" in text
    assert "| times the floor | 1.188 | 1.250 | 0.950 |" in text  # 20 steps of 4 s
    assert "run 0.950, limit 0.95: within." in text


def test_a_run_above_its_limit_is_called_missed():
    assert "run 0.960, limit 0.95: MISSED." in run_table(result(ours=96.0))


def test_each_way_has_a_row_over_native_and_over_ours():
    text = saving_table(result())
    assert "| native | 10.000 s | 20.000 s | 1.000 | 1.000 | 1.250 | 1.0e-05 |" in text
    assert "| ours, less | 9.000 s | 18.000 s | 0.900 | 0.900 | 1.125 | 0.0e+00 |" in text


def test_the_vae_and_what_is_around_it_have_limits_of_their_own():
    text = around_table(result())
    assert "| VAE encode | 10.000 s | 10.000 s | 1.000 |" in text
    assert "VAE decode 1.010, limit 1.0 (+0.02 for noise): within" in text
    assert "canvas and conditioning in a run 0.006, limit 0.01: within." in text
    slow = around_table(result(encode=10.3, overhead=1.0))
    assert "VAE encode 1.030, limit 1.0 (+0.02 for noise): MISSED" in slow
    assert "canvas and conditioning in a run 0.011, limit 0.01: MISSED." in slow


def test_the_report_says_what_was_not_measured_and_how_to_do_it_again():
    text = report(result())
    assert "- On cuda: not measured here." in text
    assert "- Floor of a step: 4.000 s, 1.000 TFLOP at 0.250 TFLOP/s." in text
    assert "run_speed --device cpu --steps 20 --rounds 3 --row-steps 2 --layers 8 --vae-dim 96`" in text
    assert "On cpu" not in text


def test_compiled_and_8_bit_rows_are_in_on_a_gpu_and_on_a_cpu_where_asked_for():
    plain, asked = read_arguments([]), read_arguments(["--compile", "--no-fp8"])
    assert [variants_on(device, plain) for device in ("cpu", "cuda")] == [[], list(VARIANTS)]
    assert [variants_on(device, asked) for device in ("cpu", "cuda")] == [["compile"], ["compile"]]


def test_the_report_tells_what_a_compiled_model_takes_at_first_and_why_a_row_is_missing():
    found = result() | {
        "variants": list(VARIANTS),
        "first_seconds": {"ours, torch.compile": 61.25},
        "faults": {"fp8": "no such number"},
    }
    lines = report(found).splitlines()
    assert "- The first step of ours, torch.compile, with loading and compiling: 61.2 s." in lines
    assert "- Rows of --fp8: not measured: no such number" in lines
    assert lines[-1].endswith("--vae-dim 96 --compile --fp8`")
    assert not any("Rows of --compile" in line for line in lines)
    lines = report(result()).splitlines()
    assert "- Rows of --compile: not measured here." in lines
    assert report(result() | {"device": "cuda"}).endswith("--vae-dim 96 --no-compile --no-fp8`\n")


@pytest.mark.parametrize("name", ["--steps", "--rounds", "--row-steps", "--vae-dim"])
def test_nothing_less_than_one_is_taken(name, capsys):
    with pytest.raises(SystemExit):
        read_arguments([name, "0"])
    assert f"{name} is 0, but must be at least 1" in capsys.readouterr().err


def test_the_ways_have_labels_of_their_own_and_the_sigmas_fall_from_1_to_0():
    ways = (speed_ways.OURS, speed_ways.NATIVE, *speed_ways.OTHERS)
    assert len({way.label for way in ways}) == len(ways)
    sigmas = speed_ways.sigmas_of(20)
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (1, 0, 21)
    assert (sigmas.diff() < 0).all()
    torch.testing.assert_close(sigmas[10], torch.tensor(0.75))  # 3 s / (1 + 2 s) at a half


def test_the_fallback_for_cpus_has_a_row_on_a_cpu_only():
    labels = {device: [way.label for way in speed_ways.others_on(device)] for device in ("cpu", "cuda")}
    assert set(labels["cpu"]) - set(labels["cuda"]) == {"ours, the host's attention for CPUs"}
    assert len(labels["cpu"]) == len(speed_ways.OTHERS)


class Patcher:
    """As far as wrappers go the host's."""

    def __init__(self):
        self.wrappers = {}
        self.model = SimpleNamespace(memory_required=lambda shape, **_: 5)

    def add_wrapper_with_key(self, kind, key, wrapper):
        self.wrappers[kind, key] = wrapper

    def remove_wrappers_with_key(self, kind, key):
        del self.wrappers[kind, key]


def test_two_passes_leave_what_the_host_reckons_and_end_with_the_run(monkeypatch):
    def one_by_one():
        pass

    plan = SimpleNamespace(_one_by_one=one_by_one)
    extension = SimpleNamespace(WrappersMP=SimpleNamespace(CALC_COND_BATCH="calc_cond_batch"))
    monkeypatch.setitem(sys.modules, f"{PACK}.nodes.memory_plan", plan)
    monkeypatch.setitem(sys.modules, "comfy.patcher_extension", extension)
    patcher = Patcher()
    way = next(way for way in speed_ways.OTHERS if "two passes" in way.label)
    with way.arrange(patcher):
        assert list(patcher.wrappers.values()) == [one_by_one]
        assert next(iter(patcher.wrappers))[0] == "calc_cond_batch"
        assert patcher.model.memory_required([2, 16, 5, 8, 8]) == 5  # decides what stays loaded
    assert not patcher.wrappers


def test_a_clocked_object_waits_for_the_device_before_and_after(monkeypatch):
    machine = pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)
    happened = []
    monkeypatch.setattr(machine, "synchronize", happened.append)
    inner = SimpleNamespace(work=lambda: happened.append("work"))
    Clocked(inner, "work", "cuda").work()
    assert happened == ["cuda", "work", "cuda"]


def test_a_clocked_object_counts_one_method_and_hands_on_the_rest():
    pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)

    class Inner:
        width = 3

        def work(self, amount):
            torch.ones(amount).sum()
            return amount

    clocked = Clocked(Inner(), "work", "cpu")
    assert clocked.width == 3
    assert clocked.seconds == 0
    assert clocked.work(1000) == 1000
    first = clocked.seconds
    clocked.work(1000)
    assert clocked.seconds > first > 0
