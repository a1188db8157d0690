"""What the host's text encoder makes of a prompt, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ..magref_core.errors import MagrefError
from ..magref_core.subjects.mentions import BoundPrompt, Subject
from ..magref_core.subjects.spans import Binding, Piece, bind

OTHER_ENCODER = (
    "the text encoder given has no SentencePiece tokenizer, so the words of the subjects cannot be found: "
    "choose umt5_xxl_fp8_e4m3fn_scaled.safetensors with type wan in Load CLIP"
)


def bind_prompt(clip: Any, bound: BoundPrompt, subjects: Sequence[Subject]) -> tuple[Binding, Any]:
    """Find the subjects' tokens; gives the binding and the host's tokens of the prompt.

    Args:
        clip: the host's text encoder.
        bound: from `bind_mentions`.
        subjects: those it was made with.

    Raises:
        MagrefError: it is no SentencePiece encoder; see also `bind`.
    """
    processor = _processor(clip)
    (batches,) = clip.tokenize(bound.text, return_word_ids=True).values()
    if len(batches) != 1:  # the host cut the prompt into parts, each with marks of its own
        raise MagrefError(OTHER_ENCODER)
    groups: dict[int, list[int | None]] = {}
    for token, _, number in batches[0]:
        if number:  # 0 is the end mark and the filling
            groups.setdefault(number, []).append(None if torch.is_tensor(token) else int(token))
    return bind(bound, subjects, groups, partial(pieces_of, processor)), clip.tokenize(bound.text)


def pieces_of(processor: Any, text: str) -> list[Piece]:
    """The tokens of a text and their characters, by sentencepiece of any age."""
    try:
        found = processor.encode(text, return_type="offset_mapping", add_eos=False, add_bos=False)
    except (TypeError, ValueError):  # before 0.2.2
        cut = processor.encode(text, out_type="immutable_proto", add_eos=False, add_bos=False)
        return [Piece(one.id, one.piece, one.begin, one.end) for one in cut.pieces]
    rows = zip(found["ids"], found["pieces"], found["offsets"], strict=True)
    return [Piece(number, piece, *where) for number, piece, where in rows]


def _processor(clip: Any) -> Any:
    """The SentencePiece processor inside the host's tokenizer."""
    tokenizer = getattr(clip, "tokenizer", None)
    inner = getattr(tokenizer, getattr(tokenizer, "clip", ""), None)
    processor = getattr(getattr(inner, "tokenizer", None), "tokenizer", None)
    if not hasattr(processor, "id_to_piece"):
        raise MagrefError(OTHER_ENCODER)
    return processor
