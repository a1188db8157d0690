from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from magref_core.errors import MagrefError
from magref_core.training.conditions import DropConfig
from magref_core.training.config import TrainConfig
from magref_core.training.files import TrainingError
from magref_core.training.flow import FlowConfig
from magref_core.training.rates import RateConfig
from magref_core.training.state import (
    RunState,
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
)

CONFIG = TrainConfig(steps=10)


def state_at(step):
    return RunState(
        step=step,
        weights={
            "blocks.0.q.weight": torch.full((2, 3), float(step)),
            "head.bias": torch.zeros(3).bfloat16(),
        },
        average={"blocks.0.q.weight": torch.full((2, 3), -1.0), "head.bias": torch.zeros(3)},
        optimiser={"exp_avg.head.bias": torch.ones(3), "step.head.bias": torch.tensor(7.0)},
    )


@pytest.fixture
def file(tmp_path):
    """The state of a run after 5 steps."""
    save_state(tmp_path / "state.safetensors", state_at(5), CONFIG)
    return tmp_path / "state.safetensors"


def test_a_state_is_read_back_as_it_was_saved(file):
    found, saved = load_state(file, CONFIG), state_at(5)
    assert found.step == 5
    for part in ("weights", "average", "optimiser"):
        before, after = getattr(saved, part), getattr(found, part)
        assert set(after) == set(before)
        for name, value in before.items():
            assert torch.equal(after[name], value)
            assert after[name].dtype == value.dtype


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"seed": 1}, "seed"),
        ({"steps": 11, "average": 0.5}, "steps, average"),
        ({"flow": FlowConfig(shift=5.0)}, "flow"),
    ],
)
def test_another_configuration_is_refused_and_its_fields_named(file, change, names):
    with pytest.raises(
        TrainingError,
        match=rf"state\.safetensors was saved with another configuration \({names} differ\): use the one",
    ):
        load_state(file, replace(CONFIG, **change))


def test_a_new_schedule_may_change_the_schedule_and_nothing_else(file):
    schedule = replace(
        CONFIG,
        steps=99,
        batch_size=2,
        flow=FlowConfig(shift=5.0),
        drops=DropConfig(text=0.0),
        rate=RateConfig(peak=1e-5),
        clip_lengths=((0.5, 2),),
        precision="bfloat16",
    )
    assert load_state(file, schedule, new_schedule=True).step == 5
    with pytest.raises(TrainingError, match=r"another configuration \(seed, betas differ\)"):
        load_state(file, replace(schedule, seed=1, betas=(0.5, 0.6)), new_schedule=True)


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_truncated_state_is_told(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(
        TrainingError, match=r"^state\.safetensors is cut off or broken \(.*\): use an earlier copy"
    ):
        load_state(file, CONFIG)


def test_a_missing_state_is_told(tmp_path):
    with pytest.raises(TrainingError, match=r"there is no state\.safetensors to go on from: start a new run"):
        load_state(tmp_path / "state.safetensors", CONFIG)


def test_weights_that_are_no_state_are_told(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(
        TrainingError, match=r"model\.safetensors is not the state of a training run: choose state"
    ):
        load_state(tmp_path / "model.safetensors", CONFIG)


def test_a_state_with_a_configuration_of_another_version_is_told(file):
    metadata = {"kind": "magref_run", "step": "5", "config": '{"stepps": 3}'}
    save_file(dict(load_file(file)), file.with_name("other.safetensors"), metadata=metadata)
    with pytest.raises(
        MagrefError, match=r"the configuration in other\.safetensors has the unknown keys stepps"
    ):
        load_state(file.with_name("other.safetensors"), CONFIG)


def test_a_save_replaces_the_state_before(file):
    save_state(file, state_at(6), CONFIG)
    assert load_state(file, CONFIG).step == 6
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def parameters():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(3, generator=generator, requires_grad=True) for name in ("a", "b", "frozen")}


def optimiser_of(weights):
    return torch.optim.AdamW(weights.values(), lr=0.1, fused=True)


def advance(weights, optimiser, seed):
    generator = torch.Generator().manual_seed(seed)
    for name in ("a", "b"):
        weights[name].grad = torch.randn(3, generator=generator)
    optimiser.step()


def test_an_optimiser_goes_on_with_what_it_remembered(file):
    weights = parameters()
    optimiser = optimiser_of(weights)
    advance(weights, optimiser, 1)
    memory = optimiser_tensors(optimiser, weights)
    assert set(memory) == {
        f"{moment}.{name}" for moment in ("step", "exp_avg", "exp_avg_sq") for name in "ab"
    }
    other = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    restored = optimiser_of(other)
    restore_optimiser(restored, other, memory)
    for seed in (2, 3):
        advance(weights, optimiser, seed)
        advance(other, restored, seed)
    for name, value in weights.items():
        assert torch.equal(value, other[name])


def test_all_of_the_memory_goes_to_the_device_of_its_parameter():
    """The fused optimiser wants the count of steps there as well."""
    parameter = torch.zeros(3, device="meta", requires_grad=True)
    optimiser = torch.optim.AdamW([parameter])
    memory = {"step.a": torch.tensor(1.0), "exp_avg.a": torch.ones(3), "exp_avg_sq.a": torch.ones(3)}
    restore_optimiser(optimiser, {"a": parameter}, memory)
    found = optimiser.state[parameter]
    assert set(found) == {"step", "exp_avg", "exp_avg_sq"}
    assert all(value.device == parameter.device for value in found.values())


def test_the_restored_memory_is_a_copy():
    """Else the optimiser would work in the mapped file, which then cannot be replaced on Windows."""
    weights = parameters()
    optimiser = optimiser_of(weights)
    advance(weights, optimiser, 1)
    memory = {name: value.clone() for name, value in optimiser_tensors(optimiser, weights).items()}
    restored = optimiser_of(weights)
    restore_optimiser(restored, weights, memory)
    for name, parameter in weights.items():
        for moment, value in restored.state.get(parameter, {}).items():
            assert value.data_ptr() != memory[f"{moment}.{name}"].data_ptr()
