"""Teach the text encoder of a run from the captions of drawn scenes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch

from magref_core.training.files import save_tensors
from magref_core.training.text_encoder import TextEncoder, TextEncoderConfig, silence_pieces
from magref_core.training.text_lessons import Lesson, teach
from magref_core.training.tokenizer import Tokenizer
from magref_core.world.captions import VOCABULARY, caption, deed
from magref_core.world.scene import Scene, draw_scene

from .files import RunFiles
from .presets import Preset
from .stopping import stop_on_signals

SEED = 920_000
"""Of the scenes."""
BATCH_SIZE = 128


@dataclass(frozen=True, slots=True)
class Named:
    """A subject as a caption names it."""

    noun: int
    """Row of its noun among the pieces."""
    deed: int
    """Piece of the last word of what it does."""
    side: int
    """See `magref_core.training.text_lessons.Lesson`."""


def make_text_encoder(files: RunFiles, preset: Preset) -> bool:
    """Teach a new encoder and save it; whether it was not stopped before."""
    tokenizer = Tokenizer(files.tokenizer.read_bytes())
    rng = np.random.default_rng(SEED)
    drawn = [draw_scene(rng, preset.scenes) for _ in range(preset.num_captions)]
    prompts = tokenizer.batch([caption(scene) for scene in drawn])
    subjects = [name_subjects(scene, tokenizer) for scene in drawn]
    generator = torch.Generator().manual_seed(SEED)

    def draw() -> Lesson:
        picks = torch.randint(len(drawn), (BATCH_SIZE,), generator=generator).tolist()
        return _lesson(prompts[picks], [subjects[pick] for pick in picks])

    config = TextEncoderConfig(vocab_size=tokenizer.num_pieces, text_len=preset.dit.text_len)
    encoder = TextEncoder(config, generator)
    with stop_on_signals() as stopped:
        is_done = teach(encoder, draw, preset.lessons, should_stop=lambda: bool(stopped), on_report=_print)
    if is_done:
        silence_pieces(encoder, tokenizer.known_pieces(VOCABULARY))
        save_tensors(files.text_encoder, encoder.state_dict(), {})
    return is_done


def name_subjects(scene: Scene, tokenizer: Tokenizer) -> list[Named]:
    """Where the caption of a scene names its actors, in order."""
    prompt, end, count = caption(scene), 0, len(scene.actors)
    named: list[Named] = []
    for index, actor in enumerate(scene.actors):
        found = re.compile(rf"\b{actor.identity.category}\b").search(prompt, end)
        assert found is not None, "a caption names every actor"
        row, end = len(tokenizer.pieces(prompt[: found.start()].rstrip())), found.end()
        does = tokenizer.pieces(deed(actor))[-1]
        named.append(Named(noun=row, deed=does, side=count * (count - 1) // 2 + index))
    return named


def _lesson(ids: torch.Tensor, subjects: list[list[Named]]) -> Lesson:
    flat = [(place, each) for place, some in enumerate(subjects) for each in some]
    return Lesson(
        ids=ids,
        captions=torch.tensor([place for place, _ in flat]),
        nouns=torch.tensor([each.noun for _, each in flat]),
        deeds=torch.tensor([each.deed for _, each in flat]),
        sides=torch.tensor([each.side for _, each in flat]),
    )


def _print(step: int, share: float) -> None:
    print(f"text encoder step {step}, {share:.0%} of the subjects understood", flush=True)
