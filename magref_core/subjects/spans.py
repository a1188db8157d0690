"""From characters of a prompt to rows of its embedding: which tokens are whose words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from ..errors import MagrefError
from .mentions import BoundPrompt, Subject, find_words
from .weights import EMBEDDING, Text, chunks_of, embedding_rests

TEXT_LEN = 512
"""Rows of a prompt that the released model reads."""

JSON_VERSION = 1

How = Literal["mention", "word", "missing"]
"""How the prompt names a subject: by @name, by its plain word, or not at all."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of a text, and the characters of that text for which it stands."""

    id: int
    text: str
    """As the tokenizer writes it."""
    begin: int
    end: int
    """Equal to `begin` for what stands for no character of its own: a mark, or a byte before the last one."""


Tokenise = Callable[[str], Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class Token:
    """One row of the prompt's embedding."""

    position: int
    text: str
    places: frozenset[int]
    """Characters of the prompt; none for a row of an embedding file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundSubject:
    """A subject and the rows of the prompt that are its words."""

    name: str
    word: str
    how: How
    positions: tuple[int, ...]
    """Rows that the model reads, of all its words together; empty if it is not named."""
    pieces: tuple[str, ...]
    """The tokens at these positions."""
    num_cut: int = 0
    """Rows of its words behind the end of what the model reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A prompt and who is who in it."""

    prompt: str
    """As the text encoder is given it."""
    num_tokens: int
    """With the end mark and without the filling."""
    subjects: tuple[BoundSubject, ...]

    def as_json(self) -> str:
        """The report: prompt, number of tokens, and for each subject its word, tokens and positions."""
        return json.dumps({"version": JSON_VERSION, **asdict(self)}, ensure_ascii=False, indent=2)

    def sentences(self) -> tuple[str, ...]:
        """What each subject is bound to, one line each."""
        return tuple(_line(subject) for subject in self.subjects)

    def warnings(self) -> tuple[str, ...]:
        """What of it a user should mend."""
        found = [
            f"the prompt does not name '{subject.name}': write @{subject.name} where it acts, or switch it "
            f"off"
            for subject in self.subjects
            if subject.how == "missing"
        ]
        return (*found, *(_cut(subject) for subject in self.subjects if subject.num_cut))


def bind(
    bound: BoundPrompt,
    subjects: Sequence[Subject],
    groups: Mapping[int, Sequence[int | None]],
    tokenise: Tokenise,
    *,
    text_len: int = TEXT_LEN,
) -> Binding:
    """Find the rows of every subject's words.

    A subject that is mentioned with an @ is bound to its mentions; any other to its plain word. Where it is
    named several times, all its tokens count, each as much as any other.

    Args:
        bound: from `bind_mentions`.
        subjects: those it was made with.
        groups: what the host's tokenizer made of `bound.text`: number of the chunk, from 1 -> its token ids,
            None for a row of an embedding file.
        tokenise: cuts one chunk; the host's own tokenizer.
        text_len: rows that the model reads.

    Raises:
        MagrefError: two subjects share a plain word, all words of a subject lie behind `text_len`, or the
            host cuts the prompt in another way.
    """
    tokens, text, places = _tokens(bound.text, groups, tokenise)
    owned: dict[int, set[int]] = {index: set() for index in range(len(subjects))}
    for index, begin, end in bound.mentions:
        owned[index].update(range(begin, end))
    mentioned = {place for found in owned.values() for place in found}
    missing = [index for index, found in owned.items() if not found]
    taken = [place in mentioned or character == "\0" for place, character in zip(places, text, strict=True)]
    for number, where in find_words(text, [subjects[index] for index in missing], taken):
        owned[missing[number]].update(places[at] for at in where)
    found = [
        _bound_subject(subject, owned[index], tokens, index in missing, text_len)
        for index, subject in enumerate(subjects)
    ]
    num_tokens = 1 + sum(len(group) for group in groups.values())
    _check_cut(found, num_tokens, text_len)
    return Binding(prompt=bound.text, num_tokens=num_tokens, subjects=tuple(found))


def _bound_subject(
    subject: Subject, owned: set[int], tokens: Sequence[Token], is_plain: bool, text_len: int
) -> BoundSubject:
    mine = [token for token in tokens if token.places & owned]
    read = [token for token in mine if token.position < text_len]
    how: How = "missing" if not mine else "word" if is_plain else "mention"
    return BoundSubject(
        name=subject.name,
        word=subject.word,
        how=how,
        positions=tuple(token.position for token in read),
        pieces=tuple(token.text for token in read),
        num_cut=len(mine) - len(read),
    )


def _check_cut(subjects: Sequence[BoundSubject], num_tokens: int, text_len: int) -> None:
    for subject in subjects:
        if subject.num_cut and not subject.positions:
            raise MagrefError(
                f"the prompt has {num_tokens} tokens, but the model reads {text_len}, and '{subject.name}' "
                f"is "
                "named only behind them: shorten the prompt, or name it earlier"
            )


def _tokens(
    prompt: str, groups: Mapping[int, Sequence[int | None]], tokenise: Tokenise
) -> tuple[list[Token], str, list[int]]:
    """All tokens with their characters, the text that is read, and where in the prompt that stands.

    In the text a NUL stands where names of embeddings and the like are.
    """
    tokens: list[Token] = []
    characters: list[str] = []
    places: list[int] = []
    number, position = 1, 0
    for chunk, weight in chunks_of(prompt):
        del weight
        for part in _parts_of(chunk, groups, number, tokenise):
            group = groups.get(number, ())
            if part is None:
                tokens += [Token(position + row, EMBEDDING, frozenset()) for row in range(len(group))]
                characters.append("\0")
                places.append(-1)
            else:
                pieces = tokenise(part.characters)
                if [piece.id for piece in pieces] != list(group):
                    raise _differs(part)
                tokens += [
                    Token(position + row, piece.text, _places_of(piece, part))
                    for row, piece in enumerate(pieces)
                ]
                characters.append(part.characters)
                places += part.places
            number, position = number + 1, position + len(group)
    if any(group for other, group in groups.items() if other >= number):
        raise _differs(Text(prompt, ()))
    return tokens, "".join(characters), places


def _parts_of(
    chunk: Text, groups: Mapping[int, Sequence[int | None]], number: int, tokenise: Tokenise
) -> Iterator[Text | None]:
    """What the host makes of a chunk: texts, and None for an embedding that it has found."""
    if not chunk.characters.startswith(EMBEDDING):
        yield chunk
        return
    group = groups.get(number, ())
    if group and group[0] is None:
        yield None
        number += 1
        group = groups.get(number, ())
    candidates = [*embedding_rests(chunk), chunk]  # the whole chunk where the host knows no embeddings
    for rest in candidates:
        if [piece.id for piece in tokenise(rest.characters)] == list(group):
            if rest.characters:
                yield rest
            return
    if candidates[0].characters:
        raise _differs(chunk)


def _places_of(piece: Piece, part: Text) -> frozenset[int]:
    if piece.end > piece.begin:
        return frozenset(part.places[piece.begin : piece.end])
    is_byte = piece.text.startswith("<0x")  # bytes come before the one that ends their character
    return frozenset(part.places[piece.begin : piece.begin + 1]) if is_byte else frozenset()


def _differs(part: Text) -> MagrefError:
    return MagrefError(
        f"ComfyUI cuts '{part.characters[:40]}' of the prompt into other tokens than expected, so the words "
        f"of "
        "the subjects cannot be found: take weights and embeddings out of the prompt, or use CLIP Text Encode"
    )


def _line(subject: BoundSubject) -> str:
    if subject.how == "missing":
        return f"{subject.name}: not named"
    shown = " ".join(subject.pieces[:12]) + (" ..." if len(subject.pieces) > 12 else "")
    rows = ", ".join(str(position) for position in subject.positions[:12])
    return f"{subject.name}: '{subject.word}' as {shown} (tokens {rows})"


def _cut(subject: BoundSubject) -> str:
    return (
        f"{subject.num_cut} tokens of '{subject.name}' lie behind what the model reads of the prompt: "
        "shorten the prompt"
    )
