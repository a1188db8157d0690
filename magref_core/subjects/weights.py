r"""A prompt as ComfyUI's tokenizers cut it: weighted segments, each character with its place in the prompt.

`(word:1.2)` weighs, `(word)` weighs 1.1, `\(` is a parenthesis, and `embedding:name` after a white space
stands for a file. The rules are those that the host follows; what is found here is compared with its own
tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

EMBEDDING = "embedding:"
_STARTS = re.compile(rf"(?<=\s){EMBEDDING}")
_BRACKETS = re.compile(r"[<\[]")
_GROUP_WEIGHT = 1.1


@dataclass(frozen=True, slots=True)
class Text:
    """Characters and where in the prompt each stands."""

    characters: str
    places: tuple[int, ...]

    def cut(self, begin: int, end: int | None = None) -> Text:
        """A part of it."""
        return Text(self.characters[begin:end], self.places[begin:end])

    def __add__(self, other: Text) -> Text:
        return Text(self.characters + other.characters, self.places + other.places)


@dataclass(frozen=True, slots=True)
class _Sign:
    """One character; a parenthesis counts as syntax unless it was escaped."""

    character: str
    place: int
    is_escaped: bool = False

    @property
    def depth(self) -> int:
        return 0 if self.is_escaped else {"(": 1, ")": -1}.get(self.character, 0)


def chunks_of(prompt: str) -> Iterator[tuple[Text, float]]:
    """What is tokenised on its own, in order, and its weight.

    A chunk that names an embedding starts with `embedding:`; see `embedding_rests`.
    """
    for signs, weight in _weighted(_signs(prompt), 1.0):
        text = Text("".join(sign.character for sign in signs), tuple(sign.place for sign in signs))
        cuts = [0, *(match.start() for match in _STARTS.finditer(text.characters)), len(text.characters)]
        for begin, end in pairwise(cuts):
            if end > begin:
                yield text.cut(begin, end), weight


def embedding_rests(chunk: Text) -> tuple[Text, ...]:
    """The texts that may be left of a chunk behind the name of its embedding.

    Words are joined by single spaces. Commas behind a name belong to it only if a file is called so; which is
    true is seen by the tokens.
    """
    offset = len(EMBEDDING)
    words = [
        chunk.cut(offset + match.start(), offset + match.end())
        for match in re.finditer(r"\S+", chunk.characters[offset:])
    ]
    if not words:
        return (Text("", ()),)
    name, rest = words[0], _joined(words[1:])
    if bracket := _BRACKETS.search(name.characters):
        at = bracket.start()
        name, rest = name.cut(0, at), name.cut(at) + (_space(name) + rest if rest.characters else rest)
    stripped = len(name.characters.strip(","))
    if stripped == len(name.characters):
        return (rest,)
    commas = name.cut(stripped)
    return rest, commas + _space(commas) + rest


def _joined(words: Sequence[Text]) -> Text:
    texts = [word if index == 0 else _space(words[index - 1]) + word for index, word in enumerate(words)]
    return Text("".join(one.characters for one in texts), tuple(p for one in texts for p in one.places))


def _space(before: Text) -> Text:
    """A space that stands, for lack of a place of its own, behind the last character of a text."""
    return Text(" ", (before.places[-1] + 1,) if before.places else (0,))


def _signs(prompt: str) -> list[_Sign]:
    signs: list[_Sign] = []
    place = 0
    while place < len(prompt):
        is_escaped = prompt[place] == "\\" and prompt[place + 1 : place + 2] in ("(", ")")
        place += is_escaped
        signs.append(_Sign(prompt[place], place, is_escaped))
        place += 1
    return signs


def _weighted(signs: Sequence[_Sign], weight: float) -> Iterator[tuple[Sequence[_Sign], float]]:
    for part in _parts(signs):
        if len(part) < 2 or part[0].depth != 1 or part[-1].depth != -1:
            yield part, weight
            continue
        inner, inner_weight = _own_weight(part[1:-1], weight * _GROUP_WEIGHT)
        yield from _weighted(inner, inner_weight)


def _own_weight(inner: Sequence[_Sign], otherwise: float) -> tuple[Sequence[_Sign], float]:
    """A group without the weight at its end, and that weight."""
    text = "".join("\0" if sign.is_escaped else sign.character for sign in inner)
    colon = text.rfind(":")
    if colon <= 0:
        return inner, otherwise
    try:
        return inner[:colon], float(text[colon + 1 :])
    except ValueError:
        return inner, otherwise


def _parts(signs: Sequence[_Sign]) -> Iterator[Sequence[_Sign]]:
    """Cut before each outermost opening parenthesis and behind its closing one."""
    depths = list(accumulate((sign.depth for sign in signs), initial=0))
    begin = 0
    for index, sign in enumerate(signs):
        if sign.depth == 1 and depths[index] == 0:
            end = index
        elif sign.depth == -1 and depths[index + 1] == 0:
            end = index + 1
        else:
            continue
        if end > begin:
            yield signs[begin:end]
        begin = end
    if begin < len(signs):
        yield signs[begin:]
