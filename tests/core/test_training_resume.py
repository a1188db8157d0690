import itertools
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from magref_core.training import trainer as trainer_module
from magref_core.training.files import TrainingError
from magref_core.training.state import load_state
from magref_core.training.trainer import Hooks, Models, Trainer
from tests.training_runs import (
    TINY,
    WITHOUT_DROPS,
    assert_same,
    dataset_in,
    losses_of,
    sample,
    snapshot,
    stopping_after,
    tiny_dit,
    tiny_trainer,
    with_lora,
)

RUNS = {
    "whole": (TINY, False),
    "with its text encoder": (TINY, True),
    "as a LoRA": (with_lora(), False),
    "as a LoRA beside a text encoder": (with_lora(), True),
    "after an adapter stage": (replace(TINY, adapter_steps=2), True),
    "in an adapter stage": (replace(TINY, adapter_steps=4), False),
    "on growing clips": (replace(TINY, clip_lengths=((0.5, 1),)), False),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, run):
    config, has_text_encoder = RUNS[run]

    def new(name):
        return tiny_trainer(tmp_path / name, config, has_text_encoder=has_text_encoder)

    straight = new("straight")
    expected = losses_of(straight, 6)
    first = new("stopped")
    found = losses_of(first, 3)
    first.save()
    second = new("stopped")
    second.resume()
    assert second.step == 3
    assert_same(snapshot(second), snapshot(first))
    found += losses_of(second, 3)
    assert found == expected
    assert_same(snapshot(second), snapshot(straight))


def test_a_run_that_is_stopped_and_resumed_ends_as_one_in_a_piece(tmp_path):
    straight, first = tiny_trainer(tmp_path / "straight"), tiny_trainer(tmp_path / "stopped")
    straight.train()
    first.train(stopping_after(first, 2))
    second = tiny_trainer(tmp_path / "stopped")
    second.resume()
    second.train()
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("straight", "stopped")]
    assert_same(*states)


def test_a_stop_is_heeded_within_a_step_and_the_state_saved(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    asked = itertools.count()
    trainer.train(Hooks(should_stop=lambda: next(asked) == 4))
    assert trainer.step == 4
    assert load_state(tmp_path / "run" / "state.safetensors", TINY).step == 4


def test_a_run_can_start_from_weights_alone(tmp_path):
    first = tiny_trainer(tmp_path / "first")
    losses_of(first, 3)
    first.save()
    weights = load_state(tmp_path / "first" / "state.safetensors", TINY).weights
    second = tiny_trainer(tmp_path / "second", replace(TINY, seed=3))
    second.restore_weights(weights)
    assert second.step == 0
    assert not second.optimiser.state
    for name, value in first.weights.items():
        assert torch.equal(second.weights[name], value)
        assert torch.equal(second.average.values[name], value)
    second.train_step()


@pytest.mark.parametrize(
    ("saved", "resumed"),
    [(False, True), (True, False)],
    ids=["a text encoder more", "a text encoder fewer"],
)
def test_the_state_of_another_model_is_refused_and_changes_nothing(tmp_path, saved, resumed):
    trainer = tiny_trainer(tmp_path / "run", has_text_encoder=saved)
    trainer.save()
    other = tiny_trainer(tmp_path / "run", has_text_encoder=resumed)
    before = snapshot(other)
    with pytest.raises(
        TrainingError, match=r"the saved weights are of another model \(\d+ differ, such as text_encoder\."
    ):
        other.resume()
    assert_same(snapshot(other), before)


def test_weights_of_another_shape_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    weights = {name: value.detach().clone() for name, value in trainer.weights.items()}
    weights["head.head.bias"] = torch.zeros(3)
    with pytest.raises(TrainingError, match=r"another model \(1 differ, such as head\.head\.bias\)"):
        trainer.restore_weights(weights)


def test_a_run_with_another_configuration_is_resumed_only_with_a_new_schedule(tmp_path):
    tiny_trainer(tmp_path / "run").save()
    longer = tiny_trainer(tmp_path / "run", replace(TINY, steps=9))
    with pytest.raises(TrainingError, match=r"another configuration \(steps differ\)"):
        longer.resume()
    longer.resume(new_schedule=True)
    other = tiny_trainer(tmp_path / "run", replace(TINY, steps=9, seed=1))
    with pytest.raises(TrainingError, match=r"another configuration \(seed differ\)"):
        other.resume(new_schedule=True)


def test_a_sample_that_is_no_number_stops_the_run_before_it_does_harm(tmp_path):
    samples = [sample(seed) for seed in range(4)]
    samples[2]["latents"][0, 0, 0, 0] = float("nan")
    dataset = dataset_in(tmp_path / "samples", samples)
    config = replace(WITHOUT_DROPS, steps=50)
    trainer = Trainer(Models(dit=tiny_dit()), dataset, config, tmp_path / "run")
    snapshots = {0: snapshot(trainer)}

    def keep():
        snapshots[trainer.step] = snapshot(trainer)
        return False

    with pytest.raises(
        TrainingError, match=r"step \d+ gave a loss of nan and gradients of norm nan on .*0\.safetensors:2"
    ):
        trainer.train(Hooks(should_stop=keep, save_seconds=0))
    assert_same(snapshot(trainer), snapshots[trainer.step])
    saved = load_state(tmp_path / "run" / "state.safetensors", config)
    assert saved.step == trainer.step
    assert_same(
        {f"weights/{name}": value for name, value in saved.weights.items()},
        {name: value for name, value in snapshots[trainer.step].items() if name.startswith("weights/")},
    )


def test_the_state_before_a_loss_that_is_no_number_is_saved_whenever_it_comes(tmp_path):
    samples = [sample(seed) for seed in range(4)]
    samples[2]["latents"][0, 0, 0, 0] = float("nan")
    dataset = dataset_in(tmp_path / "samples", samples)
    config = replace(WITHOUT_DROPS, steps=50, seed=3)
    trainer = Trainer(Models(dit=tiny_dit()), dataset, config, tmp_path / "run")
    with pytest.raises(TrainingError, match="gave a loss of nan"):
        trainer.train()
    saved = load_state(tmp_path / "run" / "state.safetensors", config)
    assert saved.step == trainer.step
    assert all(value.isfinite().all() for value in saved.weights.values())


def test_gradients_that_overflow_stop_the_run_too(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.weights["head.head.bias"].register_hook(lambda gradient: gradient * float("inf"))
    before = snapshot(trainer)
    with pytest.raises(
        TrainingError, match=r"gradients of norm (inf|nan) on 0\.safetensors:\d, 0\.safetensors:\d"
    ):
        trainer.train_step()
    assert_same(snapshot(trainer), before)
    assert trainer.step == 0


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.train_step()
    trainer.save()
    trainer.train_step()

    def fill(_tensors, path, **_options):
        path.write_bytes(b"the first bytes")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("magref_core.training.files.save_file", fill)
        with pytest.raises(TrainingError, match=r"state\.safetensors could not be written .*No space left"):
            trainer.save()
    again = tiny_trainer(tmp_path / "run")
    again.resume()
    assert again.step == 1
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["state.safetensors"]


def test_an_interrupt_in_the_middle_of_a_save_leaves_the_last_state(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.train_step()
    trainer.save()

    def interrupt(_tensors, path, **_options):
        path.write_bytes(b"the first bytes")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("magref_core.training.files.save_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert load_state(tmp_path / "run" / "state.safetensors", TINY).step == 1
    assert not [file for file in (tmp_path / "run").iterdir() if file.name.endswith(".part")]


def test_a_truncated_state_is_told_and_leaves_the_models_alone(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.save()
    file = tmp_path / "run" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    before = snapshot(trainer)
    with pytest.raises(TrainingError, match="cut off or broken"):
        trainer.resume()
    assert_same(snapshot(trainer), before)


def test_a_resumed_log_forgets_what_the_state_forgot(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.train(replace(stopping_after(trainer, 2), report_seconds=0))
    later = tiny_trainer(tmp_path / "run")
    later.resume()
    later.save = lambda: None  # killed before it could
    later.train(replace(stopping_after(later, 4), report_seconds=0))
    last = tiny_trainer(tmp_path / "run")
    last.resume()
    assert [row["step"] for row in last.log.rows] == [1, 2]


def test_a_finished_run_stays_as_it_is(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer.train()
    again = tiny_trainer(tmp_path / "run")
    again.resume()
    before = snapshot(again)
    again.train()
    assert_same(snapshot(again), before)


def test_a_state_holds_weights_average_and_memory_by_name(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", has_text_encoder=True)
    trainer.train_step()
    trainer.save()
    names = {name.split("/", 1)[0] for name in load_file(tmp_path / "run" / trainer_module.STATE_FILE)}
    assert names == {"weights", "average", "optimiser"}
    saved = load_state(tmp_path / "run" / trainer_module.STATE_FILE, TINY)
    dit = {name for name in saved.weights if not name.startswith("text_encoder.")}
    assert dit == {name for name, _ in tiny_dit().named_parameters()}
    assert set(saved.average) == set(saved.weights) > dit
