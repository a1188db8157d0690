"""A sentencepiece tokenizer of the captions, small enough to ship and able to write any prompt."""

from __future__ import annotations

import io
import string
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MagrefError, ShapeError
from .text_encoder import END, PAD

TEXT_LEN = 32
"""Ids that a prompt is filled up to."""

MAX_PIECES = 1024
"""256 of them are bytes, which write what letters cannot."""

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"
"""Characters that are pieces even if no caption has them."""

IGNORED = ',.:;!?"()\t\n\r'
"""Read as spaces: no caption differs by them, and a prompt should not cost tokens for them."""

_NORMALISER, _RULES_PATH = 3, 6
"""Numbers of two fields in sentencepiece's own format."""

_SPACES = str.maketrans(IGNORED, " " * len(IGNORED))


def train_tokenizer(captions: Iterable[str], *, max_pieces: int = MAX_PIECES) -> bytes:
    """Train the tokenizer: pad 0, end 1, unknown 2, no start.

    Upper case is read as lower case, and punctuation not at all. Byte pairs are merged until each word of the
    captions is one piece. Equal captions give equal bytes.

    Args:
        captions: texts of a closed vocabulary.
        max_pieces: room for the bytes, the letters, the words and the parts they grow from.

    Returns:
        The serialised sentencepiece model.

    Raises:
        MagrefError: there are no captions, or their words do not fit into `max_pieces`.
    """
    import sentencepiece  # comes with the host; only training and tests need it

    texts = list(captions)
    words = sorted({word for text in texts for word in text.translate(_SPACES).split()})
    if not words:
        raise MagrefError(
            "the tokenizer is given no caption with a word in it: give it the training captions"
        )
    model = io.BytesIO()
    trainer: Any = sentencepiece.SentencePieceTrainer
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text("".join(_rules()), encoding="ascii")
        trainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=max_pieces,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_tsv=str(rules),
            required_chars=LETTERS,
            pad_id=PAD,
            eos_id=END,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    tokenizer = Tokenizer(_without_path(model.getvalue()))
    split = [word for word in words if len(tokenizer.pieces(word)) != 1]
    if split:
        raise MagrefError(
            f"{len(split)} words of the captions need several pieces each, such as '{split[0]}': "
            f"allow more than {max_pieces} pieces, or use fewer words"
        )
    return tokenizer.model


def _rules() -> Iterator[str]:
    """Code points in hexadecimal: what is read, a tab, and as what."""
    for letter in string.ascii_uppercase:
        yield f"{ord(letter):X}\t{ord(letter.lower()):X}\n"
    for mark in IGNORED:
        yield f"{ord(mark):X}\t20\n"


def _without_path(model: bytes) -> bytes:
    """Take out where the rules lay: it differs from run to run, and is of no use."""
    parts: list[bytes] = []
    for number, head, body in _fields(model):
        if number == _NORMALISER:
            kept = (inner + value for field, inner, value in _fields(body) if field != _RULES_PATH)
            body = b"".join(kept)
            head = bytes([head[0]]) + _varint(len(body))
        parts += [head, body]
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, head and body of each field of a protocol buffer; head and body together are the field."""
    start = 0
    while start < len(message):
        key, at = _read_varint(message, start)
        kind, body = key & 7, at
        if kind == 0:
            _, end = _read_varint(message, at)
        elif kind == 2:
            length, body = _read_varint(message, at)
            end = body + length
        else:
            end = at + {1: 8, 5: 4}[kind]
        yield key >> 3, message[start:body], message[body:end]
        start = end


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next byte stands."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    digits: list[int] = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


class Tokenizer:
    """Texts -> ids, as ComfyUI's UMT5 tokenizer gives them for a text without weights in brackets.

    Args:
        model: a serialised sentencepiece model.
        text_len: ids that a shorter text is filled up to.
    """

    def __init__(self, model: bytes, *, text_len: int = TEXT_LEN) -> None:
        import sentencepiece

        self.model = model
        self.text_len = text_len
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def num_pieces(self) -> int:
        """The size of the vocabulary."""
        return int(self._processor.get_piece_size())

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without the end."""
        return [int(piece) for piece in self._processor.encode(text)]

    def encode(self, text: str) -> list[int]:
        """The ids of a text, its end, and padding up to `text_len`; a longer text keeps its length."""
        ids = [*self.pieces(text), END]
        return ids + [PAD] * (self.text_len - len(ids))

    def batch(self, texts: Sequence[str]) -> Tensor:
        """Encode several texts for training.

        Returns:
            (B, text_len) int64.

        Raises:
            ShapeError: a text is longer.
        """
        encoded = [self.encode(text) for text in texts]
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) > self.text_len:
                raise ShapeError(
                    f"the caption '{text}' has {len(ids)} tokens, but at most {self.text_len} are read: "
                    "shorten it"
                )
        return torch.tensor(encoded, dtype=torch.int64)

    def known_pieces(self, texts: Iterable[str]) -> Tensor:
        """(N,) int64: padding, end and every piece that the texts use, in order."""
        used = {PAD, END}.union(*(self.pieces(text) for text in texts))
        return torch.tensor(sorted(used), dtype=torch.int64)
