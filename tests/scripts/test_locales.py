"""The translations against the English texts, which scripts/surface.py writes from the nodes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import ROOT

ENGLISH = ROOT / "locales" / "en"
FILES = [file.name for file in sorted(ENGLISH.glob("*.json"))]
TRANSLATIONS = [folder for folder in sorted(ENGLISH.parent.iterdir()) if folder != ENGLISH]
NAMES = re.compile(r"MAGREF|(image|mask)_\d+")
"""What stays as it is: the pack's name, and sockets, which references name in their JSON."""
COMPILED_CHARACTERS = set("@{}|%")
"""The browser would compile them in the names and descriptions of nodes."""
HAN = re.compile("[\u4e00-\u9fff]|VAE")

each_file = pytest.mark.parametrize("name", FILES)
each_language = pytest.mark.parametrize("folder", TRANSLATIONS, ids=lambda folder: folder.name)


def texts(folder: Path, name: str) -> dict[str, str]:
    """Path of keys -> text."""
    return dict(leaves(json.loads((folder / name).read_text(encoding="utf-8"))))


def leaves(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def gaps(text: str) -> Counter[str]:
    """The values that the page puts into a sentence."""
    return Counter(re.findall(r"\{\w+\}", text))


def test_there_is_a_chinese_translation():
    assert "zh" in [folder.name for folder in TRANSLATIONS]
    assert FILES == ["main.json", "nodeDefs.json"]


@each_language
def test_a_translation_has_the_files_of_the_english_texts(folder):
    assert [file.name for file in sorted(folder.iterdir())] == FILES


@each_language
@each_file
def test_a_translation_has_the_keys_of_the_english_texts_in_their_order(folder, name):
    assert list(texts(folder, name)) == list(texts(ENGLISH, name))


@each_language
@each_file
def test_every_text_is_translated(folder, name):
    english = texts(ENGLISH, name)
    for path, text in texts(folder, name).items():
        if NAMES.fullmatch(english[path]):
            assert text == english[path], path
        else:
            assert text.strip() and text != english[path], path


@each_file
def test_the_chinese_texts_are_chinese(name):
    for path, text in texts(ENGLISH.parent / "zh", name).items():
        is_without_words = not re.search(r"[^\W\d_]", re.sub(r"\{\w+\}", "", text))  # a name and a number
        assert NAMES.fullmatch(text) or is_without_words or HAN.search(text), path


@each_language
@each_file
def test_a_translated_sentence_takes_the_same_values(folder, name):
    english = texts(ENGLISH, name)
    for path, text in texts(folder, name).items():
        assert gaps(text) == gaps(english[path]), path


@each_language
def test_names_and_descriptions_hold_nothing_that_the_browser_would_compile(folder):
    for path, text in texts(folder, "nodeDefs.json").items():
        assert path.endswith("/tooltip") or not COMPILED_CHARACTERS & set(text), path
