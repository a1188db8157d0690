import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from magref_core.errors import MagrefError
from magref_core.training import trainer as trainer_module
from magref_core.training.conditions import DropConfig
from magref_core.training.config import TrainConfig, read_config
from magref_core.training.dataset import Dataset
from magref_core.training.files import TrainingError
from magref_core.training.flow import FlowConfig
from magref_core.training.log import Log
from magref_core.training.lora import lora_weights
from magref_core.training.precision import multiplies_bfloat16
from magref_core.training.rates import RateConfig, rate_at
from magref_core.training.state import load_state
from magref_core.training.trainer import Hooks, Models, Trainer
from tests.training_runs import (
    EMPTY_TEXT,
    TINY,
    WITHOUT_DROPS,
    dataset_in,
    losses_of,
    sample,
    tiny_dit,
    tiny_trainer,
    with_lora,
)


class Oracle(nn.Module):
    """Knows the only video of its data set, and keeps what it was given."""

    dtype = None
    gradient_checkpointing = False

    def __init__(self, video):
        super().__init__()
        self.video, self.error = video, nn.Parameter(torch.zeros(()))

    def forward(self, x, timestep, context, clip_fea, **_options):
        self.given = {"x": x, "timestep": timestep, "context": context, "clip_fea": clip_fea}
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        noise = (x[:, :16] - (1 - sigma) * self.video) / sigma
        return noise - self.video + self.error


def oracle_in(folder, config=WITHOUT_DROPS):
    known = sample(0)
    dit = Oracle(known["latents"].float())
    return Trainer(Models(dit=dit), dataset_in(folder / "samples", [known]), config, folder / "run"), known


def test_the_oracle_has_no_loss(tmp_path):
    trainer, _ = oracle_in(tmp_path)
    for step in range(20):
        trainer.step = step
        assert trainer.train_step()[0] == pytest.approx(0, abs=1e-5)
        trainer.models.dit.error.data.zero_()


def test_noise_mask_and_canvas_stand_in_the_order_of_the_model(tmp_path):
    trainer, known = oracle_in(tmp_path)
    trainer.train_step()
    given = trainer.models.dit.given
    x, canvas = given["x"], known["canvas_latents"].float()
    assert x.shape == (2, 36, 2, 4, 4)
    assert torch.equal(x[:, 20:], canvas.expand(2, -1, -1, -1, -1))
    assert torch.equal(x[:, 16:20, 0], torch.ones(2, 4, 4, 4))
    assert not x[:, 16:20, 1:].any()
    assert ((given["timestep"] > 0) & (given["timestep"] < 1000)).all()
    assert torch.equal(given["context"], known["text"].float().expand(2, -1, -1))
    assert torch.equal(given["clip_fea"], known["image_tokens"].float().expand(2, -1, -1))


def test_what_is_dropped_reaches_the_model_as_zeros(tmp_path):
    trainer, _ = oracle_in(tmp_path, replace(TINY, drops=DropConfig(text=1.0, references=1.0)))
    trainer.train_step()
    given = trainer.models.dit.given
    assert not given["x"][:, 16:].any()
    assert not given["context"].any()
    assert not given["clip_fea"].any()


def test_a_dropped_prompt_of_ids_is_encoded_as_an_empty_one(tmp_path):
    config = replace(TINY, drops=DropConfig(text=1.0, references=0.0))
    trainer = tiny_trainer(tmp_path / "run", config, has_text_encoder=True)
    seen = []
    trainer.models.text_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer.train_step()
    assert torch.equal(seen[0], EMPTY_TEXT.expand(2, -1))


def test_a_tiny_model_learns_two_subjects(tmp_path):
    """Which of the two videos is meant stands on the canvas alone."""
    samples = [sample(seed) | {"text": sample(0)["text"]} for seed in (0, 1)]
    config = TrainConfig(
        steps=150,
        batch_size=4,
        rate=RateConfig(peak=3e-3, warmup=10),
        flow=FlowConfig(subject_weight=0.0, canvas_weight=1.0),
        drops=DropConfig(text=0.0, references=0.0),
    )
    dataset = dataset_in(tmp_path / "samples", samples)
    trainer = Trainer(Models(dit=tiny_dit()), dataset, config, tmp_path / "run")
    losses = [loss for loss, _ in losses_of(trainer, 150)]
    assert sum(losses[-20:]) < 0.4 * sum(losses[:20])
    assert min(losses[:5]) > 1


def test_the_adapter_is_trained_first_and_alone(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, adapter_steps=2), has_text_encoder=True)
    adapter = {
        name for name in trainer.weights if any(part in name for part in ("k_img", "v_img", "img_emb"))
    }
    assert 0 < len(adapter) < len(trainer.weights)
    before = {name: value.detach().clone() for name, value in trainer.weights.items()}
    losses_of(trainer, 2)
    for name, weight in trainer.weights.items():
        assert (weight.grad is not None) == (name in adapter), name
        if name not in adapter:
            assert torch.equal(weight, before[name])
    assert any(not torch.equal(trainer.weights[name], before[name]) for name in adapter)
    trainer.train_step()
    assert all(weight.grad is not None for weight in trainer.weights.values())
    assert not torch.equal(trainer.weights["head.head.weight"], before["head.head.weight"])


def test_an_adapter_stage_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"no weight is called '\.\*lora_C': correct adapter_names"):
        tiny_trainer(tmp_path / "run", replace(TINY, adapter_steps=1, adapter_names=".*lora_C"))


def test_models_that_are_frozen_throughout_are_refused(tmp_path):
    dit = tiny_dit().requires_grad_(False)
    dataset = dataset_in(tmp_path / "samples", [sample(0)])
    with pytest.raises(TrainingError, match="every weight is frozen: call requires_grad_"):
        Trainer(Models(dit=dit), dataset, TINY, tmp_path / "run")


def test_a_lora_leaves_all_else_as_it_was(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", with_lora(), has_text_encoder=True)
    parts = {"dit": trainer.models.dit, "text encoder": trainer.models.text_encoder}
    before = {
        name: {key: value.clone() for key, value in part.state_dict().items()} for name, part in parts.items()
    }
    losses_of(trainer, 3)
    assert all(name.endswith(("lora_A", "lora_B")) for name in trainer.weights)
    for name, part in parts.items():
        for key, value in part.state_dict().items():
            assert torch.equal(value, before[name][key]) == ("lora" not in key), key


def test_the_average_of_a_lora_can_be_exported(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", with_lora())
    losses_of(trainer, 3)
    weights = lora_weights(trainer.models.dit, values=trainer.average.values)
    name = "blocks.0.self_attn.q.lora_B"
    assert torch.equal(weights[f"diffusion_model.{name}.weight"], trainer.average.values[name])


def test_gradients_are_clipped_to_the_norm(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, clip_norm=1e-3))
    _, norm = trainer.train_step()
    clipped = torch.stack([weight.grad.norm() for weight in trainer.weights.values()]).norm()
    assert norm > 0.1
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)


def test_the_learning_rate_follows_its_schedule(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    rates = []
    for _ in range(TINY.steps):
        trainer.train_step()
        rates.append(trainer.optimiser.param_groups[0]["lr"])
    assert rates == [rate_at(step, TINY.steps, TINY.rate) for step in range(TINY.steps)]


def test_the_average_follows_the_weights(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, average=0.5))
    name = "head.head.bias"
    expected = trainer.weights[name].detach().clone()
    for step in range(4):
        trainer.train_step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.weights[name].detach()
    torch.testing.assert_close(trainer.average.values[name], expected)


@pytest.mark.parametrize("config", [TINY, with_lora()], ids=["whole", "lora"])
def test_gradient_checkpointing_gives_the_same_gradients(tmp_path, config):
    runs = [
        tiny_trainer(tmp_path / str(is_on), replace(config, gradient_checkpointing=is_on))
        for is_on in (False, True)
    ]
    assert [run.models.dit.gradient_checkpointing for run in runs] == [False, True]
    losses = [run.train_step() for run in runs]
    assert losses[0] == losses[1]
    for name, weight in runs[0].weights.items():
        torch.testing.assert_close(runs[1].weights[name].grad, weight.grad)


def test_half_precision_runs_and_gives_about_the_same_loss(tmp_path):
    runs = [
        tiny_trainer(tmp_path / precision, replace(TINY, precision=precision), has_text_encoder=True)
        for precision in ("float32", "bfloat16")
    ]
    seen: list[bool] = []
    for run in runs:
        run.models.dit.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    (full, _), (half, _) = (run.train_step() for run in runs)
    assert half == pytest.approx(full, rel=0.02)
    assert seen == [False, multiplies_bfloat16()]
    assert all(weight.dtype == torch.float32 for weight in runs[1].weights.values())


def test_clips_are_cut_while_the_run_is_young(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, clip_lengths=((0.5, 1),)))
    frames = []
    trainer.models.dit.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0].shape[2]))
    losses_of(trainer, TINY.steps)
    assert frames == [1, 1, 1, 2, 2, 2]


def test_the_draws_of_a_step_follow_from_seed_and_step(tmp_path):
    steps = {
        (name, seed): tiny_trainer(tmp_path / f"{name} {seed}", replace(TINY, seed=seed)).train_step()
        for name, seed in (("first", 0), ("again", 0), ("first", 1), ("first", 2**31))
    }
    assert steps["first", 0] == steps["again", 0]
    assert len(set(steps.values())) == 3


def test_no_two_steps_have_the_same_draws(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(TINY, steps=50, rate=RateConfig(peak=1e-30)))
    assert len({loss for loss, _ in losses_of(trainer, 50)}) == 50


def test_an_empty_folder_is_no_data_set(tmp_path):
    with pytest.raises(MagrefError, match=r"holds no \.safetensors shard"):
        Dataset(tmp_path)


def test_a_run_keeps_its_configuration_log_and_curves(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    config = replace(TINY, seed=4)
    trainer = tiny_trainer(tmp_path / "run", config)
    reports = []
    trainer.train(Hooks(on_report=reports.append, report_seconds=0))
    folder = tmp_path / "run"
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "curves.png",
        "log.csv",
        "state.safetensors",
    ]
    assert read_config(TrainConfig, folder / "config.json") == config
    rows = Log(folder / "log.csv").rows
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert set(rows[0]) == {"step", "loss", "gradient_norm", "learning_rate", "samples_per_second"}
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].seconds_left == 0
    assert reports[0].seconds_left > reports[-2].seconds_left > 0
    for row, report in zip(rows, reports, strict=True):
        assert row["loss"] == pytest.approx(report.loss, rel=1e-5)


def test_a_report_tells_the_mean_since_the_last_one(tmp_path):
    losses = [loss for loss, _ in losses_of(tiny_trainer(tmp_path / "first"), TINY.steps)]
    reports = []
    tiny_trainer(tmp_path / "second").train(Hooks(on_report=reports.append, report_seconds=1e9))
    (report,) = reports
    assert report.loss == pytest.approx(sum(losses) / len(losses))
    assert report.step == report.num_steps == TINY.steps


def test_previews_come_after_the_state_that_they_show(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    seen = []

    def look(step):
        state = load_state(tmp_path / "run" / "state.safetensors", TINY)
        seen.append((step, state.step))

    saves: list[int] = []
    trainer.train(Hooks(on_preview=look, preview_steps=2, on_save=saves.append, save_seconds=1e9))
    assert seen == [(2, 2), (4, 4), (6, 6)] and saves == [2, 4, 6]


def test_who_listens_is_told_of_every_save(tmp_path):
    saves: list[int] = []
    tiny_trainer(tmp_path / "run").train(Hooks(on_save=saves.append, save_seconds=0))
    assert saves == list(range(1, 7))
