"""A LoRA that was trained here, in the host; and samples that the host's encoders made."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import asdict
from pathlib import Path

import comfy.clip_vision
import comfy.latent_formats
import comfy.sd
import pytest
import torch
from magref_pack.magref_core.bundle import part_metadata
from magref_pack.magref_core.canvas.clip_view import clip_pixels
from magref_pack.magref_core.training.clip_vision import ClipVision
from magref_pack.magref_core.training.text_encoder import TextEncoder, TextEncoderConfig
from magref_pack.magref_core.training.tokenizer import Tokenizer, train_tokenizer
from magref_pack.nodes import demo
from PIL import Image
from safetensors.torch import load_file, save_file

import nodes
from magref_core.dit.checkpoint import TEXT_LEN_KEY
from magref_core.errors import MagrefError
from magref_core.training.dataset import Dataset, write_shard
from scripts import encode_samples, tiny_models, train
from scripts.training import host_encoders, user_runs
from tests.training_runs import TINY_DIT, sample, tiny_dit

from . import lora_files, models, runs

pytestmark = pytest.mark.usefixtures("one_attention")

LIMIT = 1e-4
PROMPT = "a fox stands on the beach"


@pytest.fixture(autouse=True)
def with_gradients(inference_mode):
    """Training needs what the host's prompts run without."""
    with torch.inference_mode(False):
        yield


def run(dit, samples, out, *words):
    """Train on the words of a command line."""
    paths = ("--dit", dit, "--samples", samples, "--out", out, "--device", "cpu", "--batch", 2)
    return train.train(train.read_arguments([str(word) for word in (*paths, *words)]))


def host_answer(model):
    with torch.inference_mode():
        return runs.sample(model, cfg=1.0).clone()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A LoRA of three steps on the golden DiT."""
    folder = tmp_path_factory.mktemp("lora")
    generator = torch.Generator().manual_seed(0)
    wide = {
        "text": torch.randn(5, models.TEXT_WIDTH, generator=generator),
        "image_tokens": torch.randn(runs.IMAGE_TOKENS, 1280, generator=generator),
    }
    with torch.inference_mode(False):
        write_shard(folder / "samples" / "0.safetensors", [{**sample(seed), **wide} for seed in range(2)])
        words = ("--rank", 4, "--steps", 3, "--rate", "0.03")
        run(models.DIT_FILE, folder / "samples", folder / "run", *words)
    return folder / "run"


def test_the_native_loader_adds_exactly_what_was_trained(trained, tmp_path, monkeypatch):
    lora_files.show_folder(trained, monkeypatch)
    model = runs.our_model()
    (patched,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, user_runs.LORA_FILE, 1.0)
    lora, expected = load_file(trained / user_runs.LORA_FILE), lora_files.weights()
    layers = {name.removesuffix(".lora_A.weight") for name in lora if name.endswith(".lora_A.weight")}
    assert len(layers) == 30
    for layer in layers:
        first, second = (lora[f"{layer}.lora_{side}.weight"].float() for side in "AB")
        scale = float(lora[f"{layer}.alpha"]) / len(first)
        expected[f"{layer.removeprefix('diffusion_model.')}.weight"] += scale * second @ first
    save_file(expected, tmp_path / "merged.safetensors")
    plain, merged = host_answer(model), host_answer(runs.our_model(tmp_path / "merged.safetensors"))
    assert runs.largest_difference(host_answer(patched), merged) <= LIMIT
    assert runs.largest_difference(merged, plain) > 0.01


def test_the_native_model_of_the_host_takes_it_as_well(trained, monkeypatch):
    lora_files.show_folder(trained, monkeypatch)
    ours, native = (
        host_answer(nodes.LoraLoaderModelOnly().load_lora_model_only(model, user_runs.LORA_FILE, 1.0)[0])
        for model in (runs.our_model(), runs.native_model())
    )
    assert runs.largest_difference(ours, native) <= 5 * LIMIT


def test_the_training_saw_what_the_host_computes(trained, monkeypatch):
    """The DiT as it was trained, its LoRA beside the matrices, and the host with the file."""
    lora_files.show_folder(trained, monkeypatch)
    dit = user_runs.load_dit(models.DIT_FILE)
    user_runs.apply_lora(dit, load_file(trained / user_runs.LORA_FILE))
    generator = torch.Generator().manual_seed(0)
    x, text, tokens = (
        torch.randn(size, generator=generator) for size in ((1, 36, 2, 4, 6), (1, 512, 4096), (1, 17, 1280))
    )
    (patched,) = nodes.LoraLoaderModelOnly().load_lora_model_only(runs.our_model(), "lora.safetensors", 1.0)
    patched.patch_model()
    with torch.inference_mode():
        timestep = torch.tensor([700.0])
        host = patched.model.diffusion_model(x, timestep, text, clip_fea=tokens)
        assert runs.largest_difference(host, dit(x, timestep, text, tokens)) <= LIMIT
    patched.unpatch_model()


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """The golden VAE and random encoders of the demo model as files."""
    folder = tmp_path_factory.mktemp("encoders")
    tokenizer = Tokenizer(train_tokenizer((PROMPT, "a girl jumps in the room")))
    config = TextEncoderConfig(vocab_size=tokenizer.num_pieces)
    with torch.inference_mode(False):
        text = TextEncoder(config, torch.Generator().manual_seed(0))
        tower = ClipVision(None, torch.Generator().manual_seed(1))
        spelled = torch.frombuffer(bytearray(tokenizer.model), dtype=torch.uint8)
        save_file(
            text.state_dict() | {"spiece_model": spelled},
            folder / "text.safetensors",
            metadata=part_metadata("text_encoder", asdict(config)),
        )
        metadata = part_metadata("clip_vision", asdict(tower.config))
        save_file(tower.state_dict(), folder / "vision.safetensors", metadata=metadata)
    (folder / "vae.safetensors").write_bytes((models.DATA / "vae_weights.safetensors").read_bytes())
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of one subject."""
    (tmp_path / "fox").mkdir()
    for number, colour in enumerate(("red", "orange", "brown"), start=1):
        picture = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
        picture.paste(colour, (10 + number, 5, 30, 28))
        picture.save(tmp_path / "fox" / f"{number}.png")
    (tmp_path / "fox" / "prompt.txt").write_text(PROMPT)
    return tmp_path / "fox"


def encode(pictures, encoders, *words, **files):
    """Encode on the words of a command line; `files` replace encoders by path."""
    names = {"vae": "vae", "text-encoder": "text", "clip-vision": "vision"}
    given = [
        word
        for name, stem in names.items()
        for word in (f"--{name}", files.get(stem, encoders / f"{stem}.safetensors"))
    ]
    sizes = ("--cross", "--width", 48, "--height", 32, "--length", 9, "--variants", 2)
    out = pictures.parent / "samples"
    words = (pictures, "--out", out, *given, *sizes, *words)
    encode_samples.encode_folder(encode_samples.read_arguments([str(word) for word in words]))
    return out


def refuse(pictures, encoders, pattern, *words, **files):
    with pytest.raises(MagrefError, match=pattern) as caught:
        encode(pictures, encoders, *words, **files)
    assert "\n" not in str(caught.value)


def test_pictures_are_encoded_and_learnt_and_learning_goes_on(pictures, encoders, tmp_path):
    samples = encode(pictures, encoders)
    shards = Dataset(samples).shards
    assert [shard.file for shard in shards] == [f"fox {n}.png.safetensors" for n in (1, 2, 3)]
    assert {name: tuple(value.shape[1:]) for name, value in shards[0].tensors.items()} == {
        "latents": (16, 2, 4, 6),
        "canvas_latents": (16, 2, 4, 6),
        "latent_mask": (4, 6),
        "subject": (2, 4, 6),
        "image_tokens": (50, 128),
        "text": (shards[0].tensors["text"].shape[1], 128),
    }
    assert 5 < shards[0].tensors["text"].shape[1] < 20
    config = user_runs.DiTConfig(**{**asdict(TINY_DIT), "text_dim": 128, "text_len": 32, "clip_dim": 128})
    dit = tmp_path / "dit.safetensors"
    save_file(tiny_dit(config).state_dict(), dit, metadata={TEXT_LEN_KEY: "32"})
    file = run(dit, samples, tmp_path / "run", "--rank", 2, "--steps", 2)
    first = load_file(file)
    run(dit, samples, tmp_path / "run", "--resume", "--steps", 3)
    assert any(not torch.equal(first[name], value) for name, value in load_file(file).items())


def test_the_samples_are_what_the_host_gives_the_model(pictures, encoders):
    """Latents, tokens and prompt as the pack's own nodes make them of the same canvas."""
    vae, width = models.vae(), 48
    encode_video = host_encoders.load_video_encoder(encoders / "vae.safetensors")
    see, size = host_encoders.load_image_encoder(encoders / "vision.safetensors")
    clip = torch.randint(0, 256, (5, 32, width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = vae.encode(clip.float() / 255)
        torch.testing.assert_close(
            comfy.latent_formats.Wan21().process_out(encode_video(clip)[None]),
            expected.float(),
            atol=2e-2,
            rtol=1e-2,
        )
        pixels = clip_pixels(clip[:1].permute(0, 3, 1, 2) / 127.5 - 1, size=size)
        tower = demo.load_clip_vision(str(encoders / "vision.safetensors"))
        tokens = tower.model(pixel_values=pixels, intermediate_output=-2)[1]
        assert torch.equal(see(pixels), tokens.float())
        text = demo.load_text_encoder(str(encoders / "text.safetensors"))
        features = text.encode_from_tokens(text.tokenize(PROMPT))[0].half()
    (ours,) = host_encoders.encode_prompts(encoders / "text.safetensors", [PROMPT]).values()
    assert torch.equal(features[: len(ours)], ours) and not features[len(ours) :].any() and ours[-1].any()


def test_encoders_of_the_released_form_are_read(tmp_path, monkeypatch):
    """Small ones, whose sizes the host is told; all else is its own way from file to features."""
    for module, name in (
        (comfy.sd, "load_text_encoder_state_dicts"),
        (comfy.clip_vision, "load_clipvision_from_sd"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back what the import replaces
    tiny_loaders = importlib.import_module("scripts.tiny_loaders")
    monkeypatch.setattr(comfy.sd, "load_text_encoder_state_dicts", tiny_loaders.load_text_encoder)
    monkeypatch.setattr(comfy.clip_vision, "load_clipvision_from_sd", tiny_loaders.load_clip_vision)
    text, vision = tmp_path / "umt5.safetensors", tmp_path / "vision.safetensors"
    save_file(tiny_models.tiny_text_encoder(), text)
    features = host_encoders.encode_prompts(text, ["", PROMPT])
    assert features[""].shape == (1, models.TEXT_WIDTH) and len(features[PROMPT]) > 4
    save_file(tiny_models.tiny_clip_vision(), vision)
    see, size = host_encoders.load_image_encoder(vision)
    assert see(torch.zeros(1, 3, size, size)).shape == (1, 257, 1280)


def test_only_what_is_new_is_encoded_again(pictures, encoders, capsys, monkeypatch):
    samples = encode(pictures, encoders)
    times = {file.name: file.stat().st_mtime_ns for file in samples.glob("*.safetensors")}
    monkeypatch.setattr(host_encoders, "encode_prompts", None)
    encode(pictures, encoders)
    assert {file.name: file.stat().st_mtime_ns for file in samples.glob("*.safetensors")} == times
    monkeypatch.undo()
    (pictures / "2.txt").write_text("a fox jumps")
    for file in (pictures, *pictures.iterdir()):  # as if nothing else had been touched
        os.utime(file, (1, 1) if file.name != "2.txt" else None)
    capsys.readouterr()
    (samples / "stale.safetensors").write_bytes(b"x")
    encode(pictures, encoders)
    said = capsys.readouterr().out
    assert "encoded 3 of 3" in said and "encoded 2 of 3" not in said
    assert "1 files belong to no sample, such as stale.safetensors" in said


def test_other_settings_do_not_mix(pictures, encoders):
    encode(pictures, encoders)
    refuse(
        pictures,
        encoders,
        r"samples of other settings \(seed, variants differ\)",
        "--seed",
        1,
        "--variants",
        3,
    )
    (pictures.parent / "samples" / "settings.json").write_text("[")
    refuse(pictures, encoders, r"settings.json cannot be read .*: choose another folder")


def test_files_that_are_no_encoders_are_told(pictures, encoders, tmp_path):
    vision, vae = (encoders / f"{name}.safetensors" for name in ("vision", "vae"))
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 99)
    for files, pattern in (
        ({"text": vae}, r"vae.safetensors cannot be loaded \(.*\): give a UMT5 text encoder"),
        ({"vision": vae}, r"vae.safetensors cannot be loaded \(.*\): give a CLIP vision model"),
        ({"vae": vision}, r"vision.safetensors cannot be loaded \(.*\): give the Wan 2.1 VAE"),
        (
            {"vae": tmp_path / "broken.safetensors"},
            r"broken.safetensors cannot be loaded \(.*\): give the Wan",
        ),
        (
            {"text": tmp_path / "none"},
            r"none cannot be read \(No such file or directory\): give another file",
        ),
    ):
        refuse(pictures, encoders, pattern, **files)


def test_the_pack_is_imported_once():
    before, paths = sys.modules[host_encoders.PACK], list(sys.path)
    host_encoders.enter_host(Path("nowhere"), cpu=True)
    assert sys.modules[host_encoders.PACK] is before and sys.path == paths
