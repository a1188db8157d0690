"""Does a prompt name a subject?"""

from __future__ import annotations

import re
import unicodedata

_SEPARATORS = re.compile(r"[\s_\-.]+")
_ENDINGS = ("", "s", "es")


def is_named(name: str, prompt: str) -> bool:
    """Whether every word of a name occurs in the prompt.

    Upper and lower case, accents' encodings and the order of the words do not count; underscores, dashes,
    dots and spaces separate words. A plain plural counts as the word. In scripts that write words without
    spaces a word may stand anywhere.

    Args:
        name: of a subject, such as "red_fox".
        prompt: what the text encoder is given.

    Returns:
        False also for a name without any letter or digit, since no prompt can say it.
    """
    text = _plain(prompt)
    words = [word for word in _SEPARATORS.split(_plain(name)) if any(map(str.isalnum, word))]
    return bool(words) and all(_occurs(word, text) for word in words)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _occurs(word: str, text: str) -> bool:
    """Whether the word, or its plain plural, stands alone somewhere in the text."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        ends = [end + len(ending) for ending in _ENDINGS if text.startswith(ending, end)]
        if not joins(text, start) and not all(joins(text, end) for end in ends):
            return True
        start = text.find(word, start + 1)
    return False


def joins(text: str, place: int) -> bool:
    """Whether the characters before and after a place belong to one word."""
    return 0 < place < len(text) and _spaced(text[place - 1]) and _spaced(text[place])


def _spaced(character: str) -> bool:
    """Whether a character is a digit, or a letter of a script that has capitals, and thus spaces."""
    is_letter = character.lower() != character.upper()
    return is_letter or character.isdigit() or unicodedata.combining(character) > 0
