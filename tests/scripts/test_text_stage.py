from dataclasses import replace

import numpy as np
import pytest
import torch

from magref_core.training.files import TrainingError
from magref_core.training.rates import RateConfig
from magref_core.training.text_encoder import TextEncoder, TextEncoderConfig
from magref_core.training.text_lessons import LessonOptions, teach
from magref_core.training.tokenizer import Tokenizer
from magref_core.world.captions import VOCABULARY, caption
from magref_core.world.scene import SceneOptions, draw_scene
from scripts.training import stages, text_stage
from scripts.training.files import RunFiles, load_text_encoder
from scripts.training.presets import PRESETS

PRESET = replace(PRESETS["smoke"], scenes=SceneOptions(), num_captions=60, lessons=LessonOptions(num_steps=2))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = RunFiles(folder=tmp_path_factory.mktemp("run"))
    stages.make_tokenizer(files, num_captions=300)
    return files


@pytest.fixture(scope="module")
def tokenizer(files):
    return Tokenizer(files.tokenizer.read_bytes())


def new_encoder(tokenizer):
    config = TextEncoderConfig(vocab_size=tokenizer.num_pieces)
    return TextEncoder(config, torch.Generator().manual_seed(0))


def test_nouns_deeds_and_sides_are_those_of_the_caption(tokenizer):
    rng = np.random.default_rng(4)
    sides = set()
    for _ in range(60):
        scene = draw_scene(rng, SceneOptions())
        pieces = tokenizer.pieces(caption(scene))
        named = text_stage.name_subjects(scene, tokenizer)
        assert len(named) == len(scene.actors)
        for actor, each in zip(scene.actors, named, strict=True):
            assert tokenizer.pieces(actor.identity.category) == [pieces[each.noun]]
            assert each.deed in pieces
        assert [each.noun for each in named] == sorted({each.noun for each in named})
        sides.add(tuple(each.side for each in named))
    assert sides == {(0,), (1, 2), (3, 4, 5)}


def test_teaching_makes_deeds_and_sides_readable_at_the_noun(files, tokenizer):
    """The encoder alone cannot: a new one has nothing of them there."""
    shares = []
    rng = np.random.default_rng(5)
    scenes = [draw_scene(rng, replace(SceneOptions(), subjects={2: 1.0})) for _ in range(300)]
    ids = tokenizer.batch([caption(scene) for scene in scenes])
    subjects = [text_stage.name_subjects(scene, tokenizer) for scene in scenes]
    lesson = text_stage._lesson(ids, subjects)
    for peak in (2e-3, 1e-9):
        options = LessonOptions(num_steps=100, rate=RateConfig(peak=peak, warmup=20))
        encoder = new_encoder(tokenizer)
        assert teach(encoder, lambda: lesson, options, on_report=lambda *report: shares.append(report))
    assert [step for step, _ in shares] == [50, 100] * 2
    assert shares[1][1] > 0.9 > 0.1 > shares[3][1]


def test_the_encoder_is_saved_whole_and_frozen_and_says_the_same_again(files, tokenizer, capsys):
    assert text_stage.make_text_encoder(files, PRESET)
    first = load_text_encoder(files)
    assert not any(weight.requires_grad for weight in first.parameters())
    files.text_encoder.unlink()
    assert text_stage.make_text_encoder(files, PRESET)
    for name, weight in load_text_encoder(files).state_dict().items():
        torch.testing.assert_close(weight, first.state_dict()[name], msg=name)
    known = tokenizer.known_pieces(VOCABULARY)
    unknown = sorted(set(range(tokenizer.num_pieces)) - set(known.tolist()))
    assert unknown and not first.shared.weight[unknown].any()


def test_a_stopped_lesson_saves_nothing(tmp_path, files, monkeypatch):
    other = RunFiles(folder=tmp_path)
    other.tokenizer.write_bytes(files.tokenizer.read_bytes())
    monkeypatch.setattr(text_stage, "teach", lambda *_, **__: False)
    assert text_stage.make_text_encoder(other, PRESET) is False
    assert not other.text_encoder.exists()


def test_teaching_stops_when_told_to(tokenizer):
    encoder = new_encoder(tokenizer)
    assert teach(encoder, lambda: None, LessonOptions(), should_stop=lambda: True) is False


def test_a_loss_that_is_not_finite_is_refused(tokenizer):
    encoder = new_encoder(tokenizer)
    with torch.no_grad():
        encoder.shared.weight[:] = float("nan")
    scene = draw_scene(np.random.default_rng(1), SceneOptions())
    ids, subjects = tokenizer.batch([caption(scene)]), [text_stage.name_subjects(scene, tokenizer)]
    with pytest.raises(TrainingError, match="step 0 of the text encoder gave a loss of nan: lower its"):
        teach(encoder, lambda: text_stage._lesson(ids, subjects), LessonOptions())
