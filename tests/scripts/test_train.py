"""Fine-tuning on one's own samples, without a host."""

from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magref_core.dit.checkpoint import TEXT_LEN_KEY, load_dit
from magref_core.errors import MagrefError
from magref_core.training.config import to_json
from magref_core.training.dataset import Dataset, write_shard
from magref_core.training.state import load_state
from magref_core.training.trainer import Models
from scripts import train
from scripts.training import user_runs
from tests.training_runs import TINY, TINY_DIT, sample, tiny_dit, with_lora


@pytest.fixture
def folder(tmp_path):
    """A checkpoint and samples of one shard per clip."""
    save_file(tiny_dit().state_dict(), tmp_path / "dit.safetensors", metadata={TEXT_LEN_KEY: "4"})
    for seed in range(3):
        write_shard(tmp_path / "samples" / f"{seed}.safetensors", [sample(seed)])
    save_text = torch.arange(32).view(2, 16) / 32
    (tmp_path / "samples" / "empty_prompt").mkdir()
    save_file({"text": save_text}, tmp_path / "samples" / user_runs.EMPTY_PROMPT)
    (tmp_path / "tiny.json").write_text(to_json(with_lora()))
    return tmp_path


@pytest.fixture(autouse=True)
def signals():
    """The handlers of signals are put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run(folder, *words, out="run"):
    """Train on the words of a command line."""
    paths = ("--dit", folder / "dit.safetensors", "--samples", folder / "samples", "--out", folder / out)
    return train.train(train.read_arguments([str(word) for word in (*paths, "--device", "cpu", *words)]))


def refuse(folder, pattern, *words, out="run"):
    with pytest.raises(MagrefError, match=pattern) as caught:
        run(folder, *words, out=out)
    assert "\n" not in str(caught.value)


def tiny(folder):
    return ("--config", folder / "tiny.json")


def test_a_run_without_options_makes_a_lora_of_rank_16(folder):
    file = run(folder, "--steps", 2)
    weights = load_file(file)
    assert file.name == "lora.safetensors" and len(weights) == 3 * 10
    layer = "diffusion_model.blocks.0.self_attn.q"
    assert weights[f"{layer}.lora_A.weight"].shape == (16, 128)
    assert weights[f"{layer}.lora_B.weight"].dtype == torch.float16
    assert weights[f"{layer}.alpha"] == 16
    assert {file.name for file in (folder / "run").iterdir()} == {
        "base.json",
        "config.json",
        "curves.png",
        "log.csv",
        "lora.safetensors",
        "state.safetensors",
    }


def test_the_lora_holds_the_averaged_weights(folder):
    weights = load_file(run(folder, *tiny(folder)))
    state = load_state(folder / "run" / "state.safetensors", with_lora())
    name = "blocks.0.ffn.2.lora_B"
    assert torch.equal(weights[f"diffusion_model.{name}.weight"], state.average[name].half())
    assert not torch.equal(state.average[name], state.weights[name])


def test_the_loss_falls(folder):
    run(folder, *tiny(folder), "--steps", 60, "--rate", "0.01")
    rows = (folder / "run" / "log.csv").read_text().splitlines()
    state = load_file(folder / "run" / "state.safetensors")
    assert len(rows) >= 2 and state["weights/blocks.0.ffn.2.lora_B"].abs().max() > 0.01
    dataset = Dataset(folder / "samples")
    losses = []
    for lora in (None, load_file(folder / "run" / "lora.safetensors")):
        dit = load_dit(folder / "dit.safetensors")
        user_runs.apply_lora(dit, lora or {})
        trainer = user_runs.Trainer(Models(dit=dit), dataset, TINY, folder / "unused")
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            losses.append(trainer.loss(dataset.batch(64, generator), generator).item())
    assert losses[1] < 0.9 * losses[0]


def test_all_weights_are_written_as_a_checkpoint_that_loads(folder):
    file = run(folder, "--full", "--steps", 2, "--rate", "0.001")
    assert file.name == "dit.safetensors"
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()[TEXT_LEN_KEY] == "4"
    trained, base = load_dit(file), load_dit(folder / "dit.safetensors")
    assert trained.config == base.config == TINY_DIT
    changed = [
        not torch.equal(one, other)
        for one, other in zip(trained.parameters(), base.parameters(), strict=True)
    ]
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_precision_of_the_checkpoint_is_kept(folder, dtype):
    weights = {name: value.to(dtype) for name, value in tiny_dit().state_dict().items()}
    save_file(weights, folder / "dit.safetensors", metadata={TEXT_LEN_KEY: "4"})
    trained = load_file(run(folder, "--full", "--steps", 1))
    assert trained["blocks.0.ffn.0.weight"].dtype == dtype
    assert trained["head.head.weight"].dtype == torch.float32


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(folder, monkeypatch):
    whole = load_file(run(folder, *tiny(folder), out="whole"))
    steps = iter([False] * 3 + [True] * 10)
    monkeypatch.setattr(train, "stop_on_signals", lambda: nullcontext(Stop(steps)))
    run(folder, *tiny(folder))
    monkeypatch.undo()
    assert load_state(folder / "run" / "state.safetensors", with_lora()).step == 3
    resumed = load_file(run(folder, "--resume"))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


class Stop:
    """As the list of received signals, empty as long as the answers are False."""

    def __init__(self, answers):
        self.answers = answers

    def __bool__(self):
        return next(self.answers)


def test_ctrl_c_stops_after_the_step_and_the_second_one_at_once():
    before = signal.getsignal(signal.SIGINT)
    with train.stop_on_signals() as received:
        assert not received
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_goes_on_with_more_steps(folder):
    run(folder, *tiny(folder))
    run(folder, "--resume", "--steps", 8)
    assert load_state(folder / "run" / "state.safetensors", replace(with_lora(), steps=8)).step == 8


def test_a_lora_of_an_earlier_run_is_gone_on_with_from_its_weights(folder):
    first = load_file(run(folder, *tiny(folder)))
    words = ("--start-lora", folder / "run" / "lora.safetensors", "--rate", "1e-9")
    second = load_file(run(folder, *tiny(folder), *words, out="second"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-2)


def test_a_lora_of_another_alpha_cannot_be_gone_on_with(folder):
    file = run(folder, *tiny(folder))
    weights = {
        name: value / 2 if name.endswith(".alpha") else value for name, value in load_file(file).items()
    }
    save_file(weights, folder / "half.safetensors")
    words = ("--start-lora", folder / "half.safetensors")
    refuse(
        folder,
        r"half\.safetensors has alpha \d+, but this run \d+: give --config",
        *tiny(folder),
        *words,
        out="second",
    )


def test_a_run_goes_on_with_its_own_lora_only(folder):
    file = run(folder, *tiny(folder))
    refuse(
        folder,
        r"--resume goes on with the run's own LoRA: leave --start-lora out",
        "--resume",
        "--start-lora",
        file,
    )


def test_a_lora_of_another_rank_cannot_be_gone_on_with(folder):
    run(folder, *tiny(folder))
    words = ("--rank", 2, "--start-lora", folder / "run" / "lora.safetensors")
    refuse(folder, r"saved weights are of another model", *words, out="second")


def test_targets_choose_the_layers(folder):
    words = ("--rank", 2, "--steps", 1, "--targets", r"blocks\.0\.cross_attn\.(k_img|v_img)")
    weights = load_file(run(folder, *words))
    assert {name.split(".")[4] for name in weights} == {"k_img", "v_img"}


def test_references_are_left_out_as_often_as_told(folder):
    run(folder, "--rank", 2, "--steps", 1, "--drop-references", "0.5")
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["drops"] == {"text": 0.1, "references": 0.5}


def test_the_adapter_comes_first(folder):
    file = run(folder, "--full", "--steps", 2, "--adapter-steps", 2, "--rate", "0.001")
    trained, base = load_file(file), load_file(folder / "dit.safetensors")
    changed = {name for name in base if not torch.equal(trained[name], base[name])}
    assert changed and all("_img" in name or "img_emb" in name for name in changed)


def test_checkpointing_changes_no_number(folder):
    plain = load_file(run(folder, *tiny(folder), out="plain"))
    saving = load_file(run(folder, *tiny(folder), "--checkpointing", out="saving"))
    for name, value in plain.items():
        torch.testing.assert_close(saving[name], value)


def test_prompts_of_unequal_length_stand_in_one_batch(folder):
    short = {**sample(9), "text": torch.ones(1, 16).half()}
    write_shard(folder / "samples" / "short.safetensors", [short])
    models = user_runs.load_models(
        folder / "dit.safetensors", folder / "samples", with_lora(), torch.device("cpu")
    )
    dataset, models = user_runs.load_samples([folder / "samples"], models, label="dit")
    assert len(dataset.buckets) == 1 and len(dataset) == 4
    text = dataset.shards[-1].tensors["text"]
    assert text.shape == (1, 4, 16) and text[0, 0].eq(1).all() and not text[0, 1:].any()
    assert models.empty_text is not None and models.empty_text.shape == (4, 16)
    assert not models.empty_text[2:].any() and models.empty_text[1].all()


def test_several_folders_are_mixed(folder):
    long = {**sample(9, frames=3), "text": torch.ones(2, 16).half()}
    write_shard(folder / "more" / "9.safetensors", [long, long])
    models = user_runs.load_models(
        folder / "dit.safetensors", folder / "samples", with_lora(), torch.device("cpu")
    )
    dataset, _ = user_runs.load_samples([folder / "samples", folder / "more"], models, label="dit")
    drawn = [dataset.batch(1, torch.Generator().manual_seed(seed)) for seed in range(200)]
    share = sum(batch.latents.shape[2] == 3 for batch in drawn) / 200
    assert len(dataset) == 5 and 0.3 < share < 0.5
    run(folder, *tiny(folder), "--samples", folder / "samples", folder / "more")
    folders = ("--samples", folder / "samples", folder / "none")
    refuse(folder, r"none holds no .safetensors shard", *folders, "--resume")


def test_prompts_are_cut_to_what_the_model_reads(folder):
    write_shard(folder / "samples" / "long.safetensors", [{**sample(9), "text": torch.ones(9, 16).half()}])
    models = user_runs.load_models(
        folder / "dit.safetensors", folder / "samples", with_lora(), torch.device("cpu")
    )
    dataset, _ = user_runs.load_samples([folder / "samples"], models, label="dit")
    assert {shard.tensors["text"].shape[1] for shard in dataset.shards} == {TINY_DIT.text_len}


def test_a_dropped_prompt_is_the_empty_prompt(folder):
    models = user_runs.load_models(
        folder / "dit.safetensors", folder / "samples", with_lora(), torch.device("cpu")
    )
    dataset, models = user_runs.load_samples([folder / "samples"], models, label="dit")
    seen = []
    models.dit.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[2]))
    config = replace(TINY, drops=replace(TINY.drops, text=1.0))
    user_runs.Trainer(models, dataset, config, folder / "run").train_step()
    assert models.empty_text is not None and torch.equal(seen[0], models.empty_text.expand(2, -1, -1))


def test_a_second_run_in_a_folder_is_refused(folder):
    run(folder, *tiny(folder))
    refuse(folder, r"holds a run already: add --resume, or choose another folder", *tiny(folder))


def test_there_must_be_a_run_to_go_on_with(folder):
    refuse(folder, r"holds no run to go on with: leave --resume out", "--resume")


def test_another_configuration_is_refused(folder):
    run(folder, *tiny(folder))
    (folder / "other.json").write_text(to_json(replace(with_lora(), seed=5)))
    words = ("--resume", "--config", folder / "other.json")
    refuse(folder, r"saved with another configuration \(seed differ\)", *words)
    refuse(folder, r"saved with another configuration \(lora differ\)", "--resume", "--full")


def test_another_checkpoint_is_refused(folder):
    run(folder, *tiny(folder))
    save_file(tiny_dit(seed=1).state_dict(), folder / "dit.safetensors", metadata={TEXT_LEN_KEY: "4"})
    refuse(folder, r"the run in run began with dit.safetensors, but dit.safetensors is another", "--resume")


def test_a_lost_record_of_the_checkpoint_is_told(folder):
    run(folder, *tiny(folder))
    (folder / "run" / "base.json").write_text("[]")
    refuse(folder, r"base.json in run does not tell which checkpoint", "--resume")


def test_a_cut_off_state_is_told(folder):
    run(folder, *tiny(folder))
    state = folder / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    refuse(folder, r"state.safetensors is cut off or broken", "--resume")


def test_a_cut_off_checkpoint_is_told(folder):
    file = folder / "dit.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    refuse(folder, r"dit.safetensors is cut off \(.* bytes\): download it again")


def test_an_empty_folder_of_samples_is_told(folder):
    for file in (folder / "samples").glob("*.safetensors"):
        file.unlink()
    refuse(folder, r"samples holds no .safetensors shard: make the data set first")


def test_a_broken_empty_prompt_is_told(folder):
    (folder / "samples" / user_runs.EMPTY_PROMPT).write_bytes(b"x")
    refuse(folder, r"empty_prompt/text.safetensors is broken .*: make the samples again")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"text": torch.ones(4, 9)}, r"prompts in 9.safetensors are 9 channels wide, but dit.* reads 16 ch"),
        ({"image_tokens": torch.ones(3, 9)}, r"image tokens in 9.safetensors are 9 channels wide"),
        ({"text": torch.ones(4, dtype=torch.int16)}, r"9.safetensors holds prompts as token ids, but feat"),
    ],
)
def test_samples_of_another_model_are_told(folder, change, pattern):
    write_shard(folder / "samples" / "9.safetensors", [{**sample(9), **change}])
    refuse(folder, pattern)


def test_samples_without_image_tokens_are_told(folder):
    without = {name: value for name, value in sample(9).items() if name != "image_tokens"}
    write_shard(folder / "samples" / "9.safetensors", [without])
    refuse(folder, r"image tokens in 9.safetensors are missing, but dit.safetensors reads 16 channels")


def test_clips_of_an_odd_size_are_told(folder):
    write_shard(folder / "samples" / "9.safetensors", [sample(9, rows=5)])
    refuse(folder, r"clips in 9.safetensors fill no whole tokens: make the samples in multiples of 16")


def test_unknown_keys_of_the_configuration_are_told(folder):
    (folder / "tiny.json").write_text(json.dumps({"step": 3}))
    refuse(folder, r"tiny.json has the unknown keys step", *tiny(folder))


def test_values_out_of_range_are_told(folder):
    refuse(folder, r"steps is 0, but must be at least 1", "--steps", 0)
    refuse(folder, r"the LoRA has rank 0", "--rank", 0)
    refuse(folder, r"no layer is called 'nothing'", "--targets", "nothing")
    refuse(folder, r"targets are given, but the run trains all weights", "--full", "--targets", "x")
    refuse(folder, r"the device 'tpu9' cannot be used here", "--device", "tpu9")


def test_a_sample_that_is_not_finite_stops_the_run_and_is_named(folder):
    broken = sample(9)
    broken["latents"][0, 0, 0] = torch.nan
    write_shard(folder / "samples" / "9.safetensors", [broken])
    refuse(folder, r"step \d gave a loss of nan .* 9.safetensors:0", "--steps", 60, "--batch", 4)
    assert not (folder / "run" / "lora.safetensors").exists()


def test_a_full_disk_leaves_the_earlier_result(folder, monkeypatch):
    file = run(folder, *tiny(folder))
    before = file.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magref_core.training.files.save_file", fail)
    refuse(folder, r"state.safetensors could not be written .*No space left", "--resume", "--steps", 8)
    assert file.read_bytes() == before
