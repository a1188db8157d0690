"""The recipe of the demo model: from drawn scenes to samples, shards, previews and a bundle."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from magref_core.bundle import hashes_of, read_config
from magref_core.dit.checkpoint import load_dit
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.training.dataset import Dataset
from magref_core.training.files import TrainingError, save_tensors
from magref_core.training.grounding import NO_WORD
from magref_core.training.linear_codec import LinearCodec
from magref_core.training.masking import PAPER
from magref_core.training.text_lessons import LessonOptions
from magref_core.training.tokenizer import Tokenizer
from magref_core.training.trainer import Trainer
from magref_core.training.wan_vae import WanVAE, WanVAEConfig, normalise
from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.film import film
from magref_core.world.scene import SceneOptions, draw_scene
from scripts import ROOT, train_demo
from scripts.training import bundle, dit_stage, drawing, stages, text_stage
from scripts.training.files import RunFiles, averaged_models, new_models
from scripts.training.presets import PRESETS
from scripts.training.preview import conditions_of, generate
from scripts.training.samples import Encoders, draw_samples, make_sample, part_maps, subject_words
from scripts.training.staging import MAX_REFERENCES, StagingOptions, cast_references, stage

SCENES = SceneOptions(height=64, width=96, background_reference=0.5)
SHIPPED_VAE = ROOT / "models" / "demo" / bundle.PARTS["vae"]
STAGING = StagingOptions(layout=PAPER, second_photo=0.5)
TINY = replace(
    PRESETS["smoke"],
    dit=DiTConfig(dim=128, num_heads=1, num_layers=1, ffn_dim=64, text_dim=128, text_len=32, clip_dim=128),
    training=replace(PRESETS["smoke"].training, steps=2, batch_size=2),
    lessons=LessonOptions(num_steps=1),
    num_captions=50,
)


def block_means(clip):
    """A stand-in for the VAE: mean colours of the 8 x 8 x 4 blocks in the first channels."""
    video = clip.float() / 127.5 - 1 if clip.dtype == torch.uint8 else clip
    frames = [video[:1], *video[1:].split(4)]
    cells = torch.stack([f.mean(0).unflatten(0, (-1, 8)).unflatten(2, (-1, 8)).mean((1, 3)) for f in frames])
    latents = torch.zeros(16, *cells.shape[:3])
    latents[:3] = cells.permute(3, 0, 1, 2)
    return latents


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    files = RunFiles(folder=tmp_path_factory.mktemp("tokenizer"))
    stages.make_tokenizer(files, num_captions=500)
    return Tokenizer(files.tokenizer.read_bytes())


@pytest.fixture(scope="module")
def encoders(tokenizer):
    return Encoders(
        video=block_means,
        text=lambda prompt: tokenizer.batch([prompt])[0],
    )


@pytest.fixture(scope="module")
def samples(encoders):
    return list(islice(draw_samples(SCENES, STAGING, encoders, seed=3), 4))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer, samples):
    """A finished run of two steps with all its parts."""
    files = RunFiles(folder=tmp_path_factory.mktemp("run"))
    drawing.write_shard(files.samples / "shard_0000.safetensors", samples)
    files.tokenizer.write_bytes(tokenizer.model)
    files.codec.write_bytes(b"codec")
    assert text_stage.make_text_encoder(files, TINY)
    Trainer(
        new_models(files, TINY, torch.device("cpu")), Dataset(files.samples), TINY.training, files.dit
    ).train()
    save_tensors(files.vae / "vae.safetensors", {"decoder.head.0.gamma": torch.ones(4)}, {})
    return files


def test_a_staged_scene_shows_its_actors_in_other_views():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene = draw_scene(rng, SCENES)
        staged = stage(scene, STAGING, rng)
        assert staged.prompt == caption(scene)
        assert len(staged.subjects) == len(staged.canvas.references) <= MAX_REFERENCES
        assert (None in staged.subjects) == scene.background_reference
        for reference, actor in zip(staged.canvas.references, staged.subjects, strict=True):
            if actor is not None:
                assert reference.name.startswith(scene.actors[actor].identity.category)
                assert reference.alpha is not None
        assert {each for each in staged.subjects if each is not None} == set(range(len(scene.actors)))


def test_in_a_full_scene_second_views_are_given_up_first():
    rng = np.random.default_rng(3)
    options = replace(STAGING, second_photo=1.0)
    for count, background, expected in (
        (2, 0.0, [0, 0, 1, 1]), (2, 1.0, [0, 0, 1, None]), (3, 0.0, [0, 0, 1, 2]), (3, 1.0, [0, 1, 2, None]),
    ):  # fmt: skip
        scenes = replace(SCENES, subjects={count: 1.0}, background_reference=background)
        references, subjects = cast_references(draw_scene(rng, scenes), options, rng)
        assert list(subjects) == expected
        assert len({reference.name for reference in references}) == len(references) == 4


def test_a_subject_that_is_dropped_is_on_no_canvas():
    rng = np.random.default_rng(2)
    options = StagingOptions(layout=PAPER, drop_reference=1.0)
    staged = stage(draw_scene(rng, SceneOptions(height=64, width=96, background_reference=0)), options, rng)
    assert staged.subjects == ()
    assert not staged.canvas.mask.any()


def test_a_sample_is_the_canvas_followed_by_the_film(encoders, samples):
    rng = np.random.default_rng(3)
    staged = stage(draw_scene(rng, SCENES), STAGING, rng)
    sample = make_sample(staged, encoders)
    for name, value in sample.items():
        assert torch.equal(value, samples[0][name]), name
    frames = torch.from_numpy(film(staged.scene).frames)
    canvas = block_means(staged.canvas.image[None])[:, 0].half()
    assert torch.equal(sample["latents"][:, 0], canvas)
    assert torch.equal(sample["canvas_latents"][:, 0], canvas)
    assert not sample["canvas_latents"][:3, 1:].any()  # mid-grey
    assert torch.equal(sample["latents"][:, 1], block_means(frames[:5])[:, 1].half())
    assert sample["latents"].shape == (16, 5, 8, 12)


def test_subject_weights_are_the_share_of_a_cell_that_shows_a_subject(encoders):
    rng = np.random.default_rng(4)
    staged = stage(draw_scene(rng, SCENES), STAGING, rng)
    subject = make_sample(staged, encoders)["subject"]
    seen = film(staged.scene).masks.any(0)
    for frame, row, column in ((1, 4, 6), (2, 7, 1), (4, 5, 8)):
        part = seen[4 * frame - 3 : 4 * frame + 1, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert subject[frame, row, column] == round(255 * part.mean())


def test_samples_of_a_seed_are_always_the_same(encoders, samples):
    again = next(draw_samples(SCENES, STAGING, encoders, seed=3))
    other = next(draw_samples(SCENES, STAGING, encoders, seed=4))
    assert torch.equal(again["latents"], samples[0]["latents"])
    assert not torch.equal(other["latents"], samples[0]["latents"])


def test_the_tokenizer_knows_every_word_and_fits_every_caption(tokenizer):
    assert all(len(tokenizer.pieces(word)) == 1 for word in VOCABULARY)
    rng = np.random.default_rng(5)
    options = SceneOptions(subjects={3: 1.0}, camera=1.0)
    assert max(len(tokenizer.encode(caption(draw_scene(rng, options)))) for _ in range(300)) <= 32


def test_a_run_is_exported_as_files_that_the_loaders_read(run, tmp_path, tokenizer):
    bundle.export_bundle(run, TINY, tmp_path)
    dit = load_dit(tmp_path / bundle.PARTS["dit"])
    assert dit.config == TINY.dit
    assert (
        read_config(tmp_path / bundle.PARTS["text_encoder"], "text_encoder")["vocab_size"]
        == tokenizer.num_pieces
    )
    with safe_open(tmp_path / bundle.PARTS["text_encoder"], framework="pt") as text:
        assert bytes(text.get_tensor("spiece_model").numpy()) == tokenizer.model
    models = averaged_models(run, TINY, run.dit / "state.safetensors")
    tower = load_file(tmp_path / bundle.PARTS["clip_vision"])
    for name, value in models.image_encoder.state_dict().items():
        assert torch.equal(tower[name], value.half()), name
    for name, value in models.dit.state_dict().items():
        assert torch.equal(dit.state_dict()[name], value.half().float()), name
    hashes = json.loads((tmp_path / "hashes.json").read_text())
    assert hashes == hashes_of(tmp_path)
    assert set(hashes) == set(bundle.PARTS.values())
    assert (tmp_path / bundle.CODEC).read_bytes() == b"codec"
    recipe = json.loads((tmp_path / "training.json").read_text())
    assert recipe["training"]["steps"] == 2 and recipe["dit"]["dim"] == 128
    assert {"scenes", "staging", "vae", "num_samples"} <= set(recipe)


def test_a_preview_does_what_the_solver_does_with_the_model(run, encoders):
    models = averaged_models(run, TINY, run.dit / "state.safetensors")
    rng = np.random.default_rng(6)
    staged = [stage(draw_scene(rng, SCENES), STAGING, rng) for _ in range(2)]
    conditions = conditions_of(staged, encoders, models)
    first = generate(models, conditions, seed=1, num_steps=2)
    assert first.shape == (2, 16, 5, 8, 12)
    assert torch.equal(first, generate(models, conditions, seed=1, num_steps=2))
    guided = generate(models, conditions, seed=1, num_steps=2, scale=3.0)
    assert not torch.equal(first, guided)


def test_drawn_shards_are_kept_and_missing_ones_drawn(tmp_path, monkeypatch, samples):
    files = RunFiles(folder=tmp_path)
    drawing.write_shard(files.samples / "shard_0000.safetensors", samples)
    drawn = []

    class Pool:
        def __init__(self, workers):
            self.workers = workers

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def imap_unordered(self, draw, jobs):
            drawn.extend(index for *_, index in jobs)
            return jobs

    monkeypatch.setattr(drawing.multiprocessing, "get_context", lambda _: type("C", (), {"Pool": Pool}))
    drawing.draw_dataset(files, replace(TINY, num_samples=2500), seed=0, workers=1)
    assert drawn == [1, 2]


def test_part_maps_tell_who_is_where_on_the_canvas_and_in_the_film():
    rng = np.random.default_rng(8)
    for _ in range(10):
        staged = stage(draw_scene(rng, replace(SCENES, subjects={2: 1.0})), STAGING, rng)
        drawn = film(staged.scene)
        maps = part_maps(staged, drawn)
        assert maps["owners"].shape == maps["heights"].shape == (5, 4, 6)
        for placement in staged.canvas.placements:
            actor, box = staged.subjects[placement.reference], placement.box
            middle = maps["owners"][0, (box.y + box.height // 2) // 16, (box.x + box.width // 2) // 16]
            if actor is not None and box.height >= 32:
                assert middle == actor + 1
        for actor in range(2):
            own = maps["owners"][1:] == actor + 1
            whose = torch.from_numpy(drawn.masks[actor, 1:]).float().unflatten(0, (-1, 4)).mean(1)
            share = whose.unflatten(1, (4, 16)).unflatten(3, (6, 16)).mean((2, 4))
            assert share[own].min() > 0.15 and share[own].mean() > 3 * share[~own].mean()
            rows = own.any(-1).nonzero()
            heights = maps["heights"][1:].float() / 255
            for frame in rows[:, 0].unique():
                seen = heights[frame][own[frame]]
                assert seen.min() < 0.51 and seen.max() > 0.49


def test_words_are_of_the_actors_in_order_and_stand_in_the_prompt(tokenizer):
    rng = np.random.default_rng(8)
    for _ in range(10):
        staged = stage(draw_scene(rng, replace(SCENES, subjects={2: 1.0})), STAGING, rng)
        words = subject_words(staged, lambda prompt: tokenizer.batch([prompt])[0])
        pieces = tokenizer.pieces(staged.prompt)
        places = [pieces.index(int(word)) for word in words[0]]
        assert [tokenizer.pieces(actor.identity.category)[0] for actor in staged.scene.actors] == words[
            :2, 0
        ].tolist()
        assert places == sorted(places) and set(words[:2].flatten().tolist()) <= set(pieces)
        assert (words[2] == NO_WORD).all()


def test_short_clips_are_drawn_after_the_whole_ones(tmp_path, monkeypatch, encoders):
    files = RunFiles(folder=tmp_path)
    monkeypatch.setattr(drawing, "SHARD", 2)
    monkeypatch.setattr(drawing, "load_encoders", lambda _: encoders)
    preset = replace(TINY, num_samples=1, num_short_samples=3)
    for index in range(3):
        drawing._draw_shard((files, preset, 0, index))
    lengths = [shard.tensors["latents"].shape[2] for shard in Dataset(files.samples).shards]
    assert lengths == [5, 2, 2]
    long = next(draw_samples(TINY.scenes, TINY.staging, encoders, seed=1))
    short = Dataset(files.samples).shards[1].tensors
    assert torch.equal(short["latents"][0], long["latents"][:, :2])
    assert torch.equal(short["subject"][0], long["subject"][:2])


@pytest.fixture
def called(monkeypatch):
    """Names of the stages that are run, each doing nothing; the value decides whether it says it is done."""
    done = {}

    def stub(name):
        def run(*_, **__):
            done.setdefault(name, True)
            done["order"] = (*done.get("order", ()), name)
            return done[name]

        return run

    for module, name in (
        (stages, "make_tokenizer"),
        (text_stage, "make_text_encoder"),
        (stages, "make_codec"),
        (drawing, "draw_dataset"),
        (dit_stage, "train_dit"),
        (stages, "make_vae"),
        (bundle, "export_bundle"),
    ):
        monkeypatch.setattr(module, name, stub(name))
    return done


def run_stages(folder, *words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_demo", "--folder", str(folder), *words])
    train_demo.run_stages(train_demo.read_arguments(), RunFiles(folder=folder), TINY)


@pytest.mark.parametrize("stopped", ["train_dit", "make_vae"])
def test_after_a_stage_that_was_stopped_no_other_is_run(tmp_path, monkeypatch, capsys, called, stopped):
    called[stopped] = False
    run_stages(tmp_path, monkeypatch=monkeypatch)
    assert called["order"][-1] == stopped and "export_bundle" not in called["order"]
    assert "the same command goes on" in capsys.readouterr().out
    called[stopped] = True
    run_stages(tmp_path, monkeypatch=monkeypatch)
    assert called["order"][-1] == "export_bundle"


def test_a_run_of_another_preset_is_not_mixed_in(tmp_path):
    files = RunFiles(folder=tmp_path)
    stages.check_preset(files, TINY)
    stages.check_preset(files, replace(TINY, training=replace(TINY.training, steps=9)))
    with pytest.raises(TrainingError, match=r"run of another preset \(scenes, num_clips differ\)"):
        stages.check_preset(files, replace(TINY, scenes=replace(TINY.scenes, height=96), num_clips=7))


def test_the_vae_of_a_bundle_is_taken_over(tmp_path, monkeypatch, called):
    run_stages(tmp_path, "--vae-of", str(ROOT / "models" / "demo"), monkeypatch=monkeypatch)
    assert called["order"] == (
        *("make_tokenizer", "make_text_encoder", "draw_dataset", "train_dit", "export_bundle"),
    )
    files = RunFiles(folder=tmp_path)
    assert (files.vae / "vae.safetensors").read_bytes() == SHIPPED_VAE.read_bytes()
    clip = torch.from_numpy(film(draw_scene(np.random.default_rng(1), SCENES)).frames[:5])
    vae = WanVAE(WanVAEConfig(dim=16))
    vae.load_state_dict({name: value.float() for name, value in load_file(SHIPPED_VAE).items()})
    video = (clip.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
    torch.set_flush_denormal(True)
    latents = normalise(vae.encode(video))
    torch.set_flush_denormal(False)
    torch.testing.assert_close(
        LinearCodec.load(files.codec).encode(clip[None]), latents, atol=0.01, rtol=0.01
    )
    with pytest.raises(
        TrainingError, match=r"holds no training_codec\.safetensors: give the folder of a bundle"
    ):
        stages.take_vae(files, tmp_path)


def test_the_vae_of_another_code_is_not_taken_over_in_the_middle_of_a_run(tmp_path):
    files = RunFiles(folder=tmp_path)
    files.codec.write_bytes(b"fitted by this run")
    with pytest.raises(TrainingError, match=r"another linear code than that of .*: leave --vae-of out"):
        stages.take_vae(files, ROOT / "models" / "demo")
    assert files.codec.read_bytes() == b"fitted by this run" and not files.vae.exists()


def test_the_bundle_and_every_preset_keep_within_their_size():
    shipped = [file.stat().st_size for file in (ROOT / "models" / "demo").rglob("*") if file.is_file()]
    assert sum(shipped) <= 40e6
    encoders = sum(
        (ROOT / "models" / "demo" / part).stat().st_size for part in list(bundle.PARTS.values())[1:]
    )
    for preset in PRESETS.values():
        with torch.device("meta"):
            weights = sum(weight.numel() for weight in MagrefDiT(preset.dit).parameters())
        assert weights <= 14e6 and 2 * weights + encoders <= 40e6


@pytest.mark.parametrize(("losses", "falls"), [((2.0, 1.0), True), ((2.0, 1.9), False), ((2.0,), False)])
def test_the_smoke_run_fails_where_the_loss_does_not_fall(tmp_path, losses, falls):
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses)))
    if falls:
        assert "fell from 2.000 to 1.000" in train_demo.check_fall(log)
    else:
        with pytest.raises(train_demo.HostError, match="did not fall"):
            train_demo.check_fall(log)


def test_training_without_samples_says_so(tmp_path):
    with pytest.raises(TrainingError, match="make the data set first"):
        Dataset(tmp_path)


def test_all_presets_describe_models_that_can_be_built():
    for preset in PRESETS.values():
        assert preset.dit.head_dim == 128
        assert preset.dit.text_len == 32
        assert preset.scenes.length == 17
