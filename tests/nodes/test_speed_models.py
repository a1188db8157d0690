"""The rows of `run_speed` for models of another make, on a CPU at the smallest shape, and the whole table."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
import pytest
import torch
from safetensors.torch import save_file
from torch._dynamo.utils import counters

from benchmarks.run_speed import VARIANTS, measure_runs, read_arguments, saving_table, take_turns
from benchmarks.support import dit_models, speed_models, speed_ways

from .test_compat_compile import fresh_compiler

__all__ = ["fresh_compiler"]

LARGE = dit_models.CPU_SHAPE
SHAPE = replace(
    LARGE, config=replace(LARGE.config, dim=256, ffn_dim=256, num_heads=2, num_layers=2), latent=(2, 4, 6)
)
COMPILED = ["ours, torch.compile", "native, torch.compile"]
IN_FP8 = ["ours, fp8_e4m3fn", "ours, fp8_e4m3fn_fast"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(dit_models.random_weights(SHAPE, "cpu"), path)
    return path


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """What any backend is given, without a compiler."""
    monkeypatch.setattr(speed_models, "BACKEND", "eager")


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: torch.device("cpu"))


def load_both(file):
    return {name: load(file, SHAPE) for name, load in dit_models.LOADERS.items()}


def measured(name, file):
    patchers, inputs = load_both(file), speed_ways.inputs_of(SHAPE)
    ours = speed_ways.run(patchers["ours"], speed_ways.OURS, inputs, 1)
    return speed_models.measure_made(
        name, patchers, file, inputs, ours, lambda calls: take_turns(calls, "cpu", 1), 1
    )


@pytest.mark.usefixtures("fresh_compiler")
def test_both_models_are_timed_compiled_with_the_numbers_of_the_plain_ones(file):
    found = measured("compile", file)
    assert list(found["rows"]) == list(found["first_seconds"]) == COMPILED
    assert max(found["differences"].values()) <= 1e-4
    assert counters["stats"]["unique_graphs"] >= 2, "one of each at least"


def test_ours_is_timed_in_each_such_precision_of_the_loader(file):
    found = measured("fp8", file)
    assert list(found["rows"]) == IN_FP8
    assert all(1e-3 < difference < 1 for difference in found["differences"].values())
    made = speed_models.in_fp8({}, file)
    for patcher in made.values():
        assert patcher.model.diffusion_model.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn


def test_a_compiler_that_is_missing_is_told_and_the_rest_is_kept(file, monkeypatch):
    monkeypatch.setattr(speed_models, "BACKEND", "nowhere")
    arguments = read_arguments(
        ["--steps", "1", "--row-steps", "1", "--rounds", "1", *(f"--{name}" for name in VARIANTS)]
    )
    found = measure_runs(file, SHAPE, "cpu", arguments)
    assert list(found["faults"]) == ["compile"] and "nowhere" in found["faults"]["compile"]
    labels = ["native", "ours", *(way.label for way in speed_ways.OTHERS), *IN_FP8]
    assert sorted(found["rows"]) == sorted(found["differences"]) == sorted(labels)
    assert len(saving_table(found).splitlines()) == 2 + len(labels)
