"""Who is who: names in the prompt are bound to references."""

from __future__ import annotations

from typing import Any

import node_helpers
from comfy_api.latest import io

from ..magref_core.canvas.compose import Canvas
from ..magref_core.errors import MagrefError
from ..magref_core.subjects.mentions import bind_mentions, subjects_of
from .notices import show_notices
from .subject_places import BINDING
from .tokens import bind_prompt
from .types import MagrefCanvas, References


class BindSubjects(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefBindSubjects",
            display_name="MAGREF Bind Subjects",
            category="MAGREF/subjects",
            description="Encodes the prompt and finds in it the words of each subject, so that the controls "
            "of "
            "subjects know which words belong to which picture. An at sign before a name stands for the "
            "reference of that name.",
            search_aliases=["magref", "prompt", "clip text encode", "who is who", "names", "mention"],
            inputs=[
                io.Clip.Input(
                    "clip", tooltip="The text encoder: umt5_xxl with type wan, or the demo model's."
                ),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="",
                    placeholder="@girl hands the @mug to @robot",
                    tooltip="The prompt. @name stands for a reference by its name and is replaced by its "
                    "word, or else its name; typing an @ offers the names. Plain words are found too. "
                    "Weights such as (word:1.2) may be used.",
                ),
                io.MultiType.Input(
                    "references",
                    [References, MagrefCanvas],
                    tooltip="The subjects: references, or a canvas that holds them.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(id="conditioning", display_name="conditioning"),
                io.String.Output(
                    id="prompt",
                    display_name="prompt",
                    tooltip="What the text encoder was given, with words for names.",
                ),
                io.String.Output(
                    id="report",
                    display_name="report",
                    tooltip="JSON: for each subject its word, the tokens and their positions.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip, prompt, references) -> io.NodeOutput:
        if clip is None:
            raise MagrefError(
                "there is no text encoder: the checkpoint holds none, so load one with Load CLIP, type wan"
            )
        given = references.references if isinstance(references, Canvas) else references
        subjects = subjects_of(given)
        binding, tokens = bind_prompt(clip, bind_mentions(prompt, subjects), subjects)
        conditioning: Any = clip.encode_from_tokens_scheduled(tokens)
        show_notices(binding.warnings(), cls.hidden, facts=binding.sentences())
        return io.NodeOutput(
            node_helpers.conditioning_set_values(conditioning, {BINDING: binding}),
            binding.prompt,
            binding.as_json(),
        )
