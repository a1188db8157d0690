"""Names in a prompt: `@name` becomes the subject's word, and plain words are found where they stand."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten

from ..canvas.naming import joins
from ..canvas.references import Reference, check_names
from ..errors import MagrefError

_SEPARATORS = re.compile(r"[\s_\-.]+")
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u300c": "\u300d"}
"""Opening mark -> closing mark around a name."""
_TYPED = re.compile(r"\w[\w\-]*")
"""What somebody may have meant as a name."""
_MAX_SHOWN = 8
"""Names that a message lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One subject and all its references."""

    name: str
    word: str
    """What stands for it in the prompt."""
    references: tuple[int, ...]
    """Indices into the references."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundPrompt:
    """A prompt whose mentions have become words."""

    text: str
    """What the text encoder is given; NFC."""
    mentions: tuple[tuple[int, int, int], ...]
    """(subject, begin, end) of each word that replaced a mention: index of the subject, and characters."""


def subjects_of(references: Sequence[Reference]) -> tuple[Subject, ...]:
    """The subjects in the order of their first references.

    A subject's word is the first `word` among its references, else its name with spaces for underscores.

    Raises:
        MagrefError: there is no reference, or two references have one name.
    """
    check_names([reference.name for reference in references])
    found: dict[str, list[int]] = {}
    for index, reference in enumerate(references):
        found.setdefault(reference.subject or reference.name, []).append(index)
    words = {
        name: next((references[index].word for index in indices if references[index].word), None)
        for name, indices in found.items()
    }
    return tuple(
        Subject(name=name, word=words[name] or name.replace("_", " "), references=tuple(indices))
        for name, indices in found.items()
    )


def bind_mentions(prompt: str, subjects: Sequence[Subject]) -> BoundPrompt:
    r"""Put the subjects' words in place of their mentions.

    A mention is an @ and a name, `@red_fox` or `@"red fox"`; upper and lower case do not count, and spaces,
    underscores, dashes and dots are alike. Of several names that fit the longest is taken; a name ends where
    a word ends. An @ inside a word, as in an address, is left alone, and `\@` is the sign itself.

    Raises:
        MagrefError: a mention names no subject, two subjects at once, or nothing.
    """
    prompt = unicodedata.normalize("NFC", prompt)
    parts: list[str] = []
    mentions: list[tuple[int, int, int]] = []
    place = length = 0
    for at in (match.start() for match in re.finditer("@", prompt)):
        if at < place or (at > 0 and prompt[at - 1] != "\\" and joins(f"{prompt[at - 1]}a", 1)):
            continue
        is_sign = at > 0 and prompt[at - 1] == "\\"
        parts.append(prompt[place : at - is_sign])
        length += len(parts[-1])
        place = at
        if not is_sign:
            index, place = _read_mention(prompt, at + 1, subjects)
            parts.append(_escaped(subjects[index].word))
            mentions.append((index, length, length + len(parts[-1])))
        else:
            parts.append("@")
            place += 1
        length += len(parts[-1])
    return BoundPrompt(text="".join([*parts, prompt[place:]]), mentions=tuple(mentions))


def find_words(text: str, subjects: Sequence[Subject], taken: Sequence[bool]) -> Iterator[tuple[int, range]]:
    """Where the words of subjects stand as plain words, or in a plain plural.

    Args:
        text: what the text encoder reads.
        subjects: those that are looked for.
        taken: one flag per character; true where nothing may be found.

    Yields:
        Index of the subject and the characters; of words within words only the longest.

    Raises:
        MagrefError: one word stands for two subjects.
    """
    found = [
        (match.start(), match.end(), index)
        for index, subject in enumerate(subjects)
        for match in _pattern(subject.word, plural=True).finditer(text)
        if not joins(text, match.start()) and not joins(text, match.end()) and match.end() > match.start()
    ]
    free = [not flag for flag in taken]
    owners: dict[tuple[int, int], int] = {}
    for begin, end, index in sorted(found, key=lambda one: (one[0] - one[1], one[0])):
        if (begin, end) in owners:
            raise _ambiguous_word(text[begin:end], subjects[owners[begin, end]], subjects[index])
        if all(free[begin:end]):
            free[begin:end] = [False] * (end - begin)
            owners[begin, end] = index
            yield index, range(begin, end)


def _read_mention(prompt: str, at: int, subjects: Sequence[Subject]) -> tuple[int, int]:
    """The subject of the mention whose name starts at `at`, and where the mention ends."""
    if closing := _QUOTES.get(prompt[at : at + 1]):
        end = prompt.find(closing, at + 1)
        if end >= 0:
            name = prompt[at + 1 : end]
            if not name.strip():
                raise MagrefError(
                    f"the prompt says @{prompt[at : end + 1]} without a name: {_how_to(subjects)}"
                )
            exact = [i for i, one in enumerate(subjects) if _pattern(one.name).fullmatch(name.strip())]
            if not exact:
                raise _unknown(name, subjects)
            return _only(exact, subjects), end + 1
    ends = {
        index: match.end()
        for index, subject in enumerate(subjects)
        if (match := _pattern(subject.name).match(prompt, at)) and not joins(prompt, match.end())
    }
    if ends:
        longest = max(ends.values())
        return _only([index for index, end in ends.items() if end == longest], subjects), longest
    typed = _TYPED.match(prompt, at)
    if typed is None:
        near = shorten(prompt[max(0, at - 20) : at + 10], 40, placeholder="...")
        raise MagrefError(f"an @ stands without a name in '{near}': {_how_to(subjects)}")
    raise _unknown(typed[0], subjects)


def _pattern(name: str, *, plural: bool = False) -> re.Pattern[str]:
    """Finds a name, whatever separates its words."""
    parts = [re.escape(part) for part in _SEPARATORS.split(unicodedata.normalize("NFC", name)) if part]
    body = r"[\s_\-.]+".join(parts) if parts else re.escape(name)
    return re.compile(body + ("(?:es|s)?" if plural else ""), re.IGNORECASE)


def _only(indices: Sequence[int], subjects: Sequence[Subject]) -> int:
    if len(indices) > 1:
        one, other = (subjects[index].name for index in indices[:2])
        raise MagrefError(
            f"the mention @{one} fits the references '{one}' and '{other}', whose names differ in spaces, "
            "dashes, dots or underscores alone: rename one of them"
        )
    return indices[0]


def _unknown(name: str, subjects: Sequence[Subject]) -> MagrefError:
    names = [subject.name for subject in subjects]
    lowered = {one.casefold(): one for one in names}
    close = [
        lowered[one] for one in difflib.get_close_matches(name.casefold(), list(lowered), n=1, cutoff=0.6)
    ]
    asked = f"did you mean {_mention(close[0])}, or else " if close else ""
    return MagrefError(
        f"the prompt says {_mention(shorten(name, 40, placeholder='...'))}, but no reference is called so: "
        f"{asked}{_how_to(subjects)}"
    )


def _ambiguous_word(word: str, one: Subject, other: Subject) -> MagrefError:
    return MagrefError(
        f"the word '{word}' in the prompt may be '{one.name}' or '{other.name}': say which by writing "
        f"{_mention(one.name)} or {_mention(other.name)}"
    )


def _how_to(subjects: Sequence[Subject]) -> str:
    listed = ", ".join(_mention(subject.name) for subject in subjects[:_MAX_SHOWN])
    more = ", ..." if len(subjects) > _MAX_SHOWN else ""
    return f"use {listed}{more}, or write \\@ for the sign itself"


def _mention(name: str) -> str:
    return f'@"{name}"' if re.search(r"\s", name) else f"@{name}"


def _escaped(word: str) -> str:
    """A word with its parentheses marked as text: bare ones would be read as a weight."""
    return unicodedata.normalize("NFC", word).replace("(", "\\(").replace(")", "\\)")
