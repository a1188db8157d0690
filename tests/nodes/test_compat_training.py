"""The host's TrainLoraNode on our MODEL: three steps, with the losses and gradients of native Wan."""

from __future__ import annotations

import math

import pytest
import torch
from comfy_extras.nodes_train import LoraModelLoader, TrainLoraNode
from safetensors.torch import save_file

import nodes

from . import lora_files, runs

STEPS = 3

pytestmark = [
    pytest.mark.usefixtures("one_attention"),
    pytest.mark.filterwarnings("ignore:In CPU autocast"),  # the host opens one for float32 as well
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of LoRAs."""
    lora_files.show_folder(tmp_path, monkeypatch)
    return tmp_path


def train(model, **changes):
    """LoRA and losses; every draw comes from one seed."""
    generator = torch.Generator().manual_seed(3)
    positive, _ = runs.prompts()
    values = {
        "batch_size": 1,
        "steps": STEPS,
        "grad_accumulation_steps": 1,
        "learning_rate": 1e-2,
        "rank": 2,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 5,
        "training_dtype": "fp32",
        "lora_dtype": "fp32",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "gradient_checkpointing": False,
        "checkpoint_depth": 1,
        "offloading": False,
        "existing_lora": "[None]",
        "bucket_mode": False,
        "bypass_mode": False,
    }
    latents = [{"samples": torch.randn(1, 16, 2, 4, 6, generator=generator)}]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lora, losses, steps = TrainLoraNode.execute(
            model=[model],
            latents=latents,
            positive=[positive],
            **{name: [value] for name, value in (values | changes).items()},
        ).args
    return lora, losses["loss"], steps


def sample(model):
    return runs.sample(model, cfg=1.0)


def test_three_steps_give_a_lora_of_every_layer_that_lowers_the_loss():
    model = runs.our_model()
    _, untrained, _ = train(model, learning_rate=0.0)
    lora, losses, steps = train(model)
    assert steps == len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[0] == untrained[0]
    assert all(loss < 0.98 * before for loss, before in zip(losses[1:], untrained[1:], strict=True))
    layers = {key.removesuffix(".weight") for key in model.model.state_dict() if key.endswith(".weight")}
    assert {
        key.rpartition(".")[0].removesuffix(".lora_up").removesuffix(".lora_down") for key in lora
    } == layers
    assert all(torch.isfinite(value).all() for value in lora.values())


def test_losses_and_gradients_are_those_of_native_wan(folder):
    # From one LoRA file: fresh ones are drawn layer by layer, and the order of layers is each class's own.
    # By plain descent: the LoRA moves by its gradients, where Adam would blow up the smallest.
    start, _, _ = train(runs.our_model())
    save_file(start, folder / "start_3_steps_.safetensors")
    changes = {"optimizer": "SGD", "existing_lora": "start_3_steps_.safetensors"}
    ours, native = (train(model, **changes) for model in (runs.our_model(), runs.native_model()))
    assert ours[1] == pytest.approx(native[1], rel=1e-5)
    assert ours[0].keys() == native[0].keys()
    for name, value in native[0].items():
        torch.testing.assert_close(
            ours[0][name], value, rtol=0, atol=1e-3 * value.abs().max().item(), msg=name
        )
    moved = max(runs.largest_difference(value, start[name]) for name, value in ours[0].items())
    assert moved > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": True, "checkpoint_depth": 1},
        {"gradient_checkpointing": True, "checkpoint_depth": 2},
        {"gradient_checkpointing": True, "checkpoint_depth": 3},
        {"bypass_mode": True},
    ],
    ids=str,
)
def test_checkpointing_and_bypass_train_to_the_same_lora(changes):
    expected, losses, _ = train(runs.our_model(), optimizer="SGD")
    lora, other_losses, _ = train(runs.our_model(), optimizer="SGD", **changes)
    assert other_losses == pytest.approx(losses, rel=1e-4)
    for name, value in lora.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6)


def test_training_in_bf16_is_near_training_in_float32():
    _, exact, _ = train(runs.our_model(), optimizer="SGD")
    _, losses, _ = train(runs.our_model(), optimizer="SGD", training_dtype="bf16", lora_dtype="bf16")
    assert losses == pytest.approx(exact, rel=0.02)


def test_the_trained_lora_applies_back_to_our_model(folder):
    model = runs.our_model()
    plain = sample(model)
    lora, _, _ = train(model)
    assert torch.equal(sample(model), plain)
    with_lora = LoraModelLoader.execute(model, lora, 1.0, False).args[0]
    result = sample(with_lora)
    assert runs.largest_difference(result, plain) > 0.1
    save_file(lora, folder / "trained.safetensors")
    (loaded,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, "trained.safetensors", 1.0)
    torch.testing.assert_close(sample(loaded), result, rtol=0, atol=1e-5)
