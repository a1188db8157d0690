"""The list of references as it stands in the node: JSON text to entries, and entries to pictures of files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import folder_paths

from ..magref_core.canvas.references import KINDS, Kind, Reference, check_names, read_picture
from ..magref_core.errors import MagrefError

EXAMPLE = '[{"file": "alice.png", "name": "alice", "kind": "person"}]'
TEXTS = ("file", "image", "name", "kind", "word")
SWITCHES = ("off", "keep_whole")
FIELDS = {*TEXTS, *SWITCHES, "photos"}
MAX_PICTURES = 128
"""In use at once: all are held in memory, and a small text can name very many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One item of the list of references; either `file` or `image` is given."""

    name: str
    kind: Kind = "object"
    file: str | None = None
    """In the input folder."""
    image: str | None = None
    """Socket, such as image_1."""
    photos: tuple[str, ...] = ()
    """Further files of the same subject, in the input folder."""
    off: bool = False
    """Kept in the list, but not used."""
    keep_whole: bool = False
    """Left alone by MAGREF Auto Mask Subject unless it is named there."""
    word: str | None = None
    """What stands for the subject in the prompt; None: its name."""

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the entry, in order."""
        return (*(() if self.file is None else (self.file,)), *self.photos)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its pictures: its own, then "<name> 2", "<name> 3" and so on."""
        return (self.name, *(f"{self.name} {number}" for number in range(2, len(self.photos) + 2)))


def parse_entries(text: str) -> list[Entry]:
    """Read the list of references.

    Args:
        text: JSON as `EXAMPLE` shows; an empty text is an empty list. A missing name is taken from the file
            or socket, a missing kind is "object".

    Returns:
        All entries in order, also those that are switched off.

    Raises:
        MagrefError: the text is not such a list, too many pictures are in use, or their names are empty,
            doubled or contain slashes.
    """
    try:
        items = json.loads(text) if text.strip() else []
    except RecursionError as error:
        raise MagrefError(f"the references are nested too deeply: write a list such as {EXAMPLE}") from error
    except json.JSONDecodeError as error:
        raise MagrefError(
            f"the references are not JSON ({error.msg} in line {error.lineno}): "
            f"write a list such as {EXAMPLE}"
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise MagrefError(
            f"the references hold a number that cannot be read: write a list such as {EXAMPLE}"
        ) from error
    if not isinstance(items, list):
        raise MagrefError(
            f"the references are a {type(items).__name__}, but a list is needed such as {EXAMPLE}"
        )
    entries = [_entry(number, item) for number, item in enumerate(items, start=1)]
    if (count := sum(len(entry.names) for entry in in_use(entries))) > MAX_PICTURES:
        raise MagrefError(
            f"{count} pictures are in use, but at most {MAX_PICTURES} can be laid out at once: switch some "
            "off"
        )
    if names := [name for entry in in_use(entries) for name in entry.names]:
        check_names(names)
    return entries


def in_use(entries: list[Entry]) -> list[Entry]:
    """The entries that are not switched off."""
    return [entry for entry in entries if not entry.off]


def _entry(number: int, item: Any) -> Entry:
    if not isinstance(item, dict):
        raise MagrefError(
            f"reference {number} is {_shown(item)}, but an entry in braces is needed as in {EXAMPLE}"
        )
    if unknown := sorted(set(item) - FIELDS):
        raise MagrefError(
            f"reference {number} has the field {shorten(unknown[0], 40)!r}: "
            f"use only {', '.join(sorted(FIELDS))}"
        )
    for field, value in item.items():
        _check_type(number, field, value)
    if ("file" in item) == ("image" in item):
        raise MagrefError(
            f"reference {number} must have either a file or an image socket: write one as in {EXAMPLE}"
        )
    stem = Path(item.get("file") or item.get("image", "")).stem
    entry = Entry(**{"name": stem, **item, "photos": tuple(item.get("photos", ()))})
    if entry.kind not in KINDS:
        raise MagrefError(
            f"{shorten(entry.name, 40)} is of kind {shorten(entry.kind, 40)!r}: use {', '.join(KINDS)}"
        )
    return entry


def _check_type(number: int, field: str, value: Any) -> None:
    if field in TEXTS:
        fits, needed = isinstance(value, str), 'a text in double quotes, such as "alice"'
    elif field in SWITCHES:
        fits, needed = isinstance(value, bool), "true or false, without quotes"
    else:
        fits = isinstance(value, list) and all(isinstance(photo, str) for photo in value)
        needed = 'a list of files, such as ["alice_side.png"]'
    if not fits:
        raise MagrefError(f"{field} of reference {number} is {_shown(value)}, but must be {needed}")


def _shown(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def input_file(name: str) -> Path:
    """A file of the input folder by its name there, such as "alice.png" or "cast/alice.png".

    Raises:
        MagrefError: it is not in the folder, or the name or a link leads outside.
    """
    folder = Path(folder_paths.get_input_directory()).resolve()
    try:
        # By its text at first: to look for a name of another machine would call that machine (Windows).
        named = Path(os.path.abspath(folder / name.removesuffix(" [input]")))
        path = named.resolve() if named.is_relative_to(folder) else named
        exists = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, not allowed, or links in a circle
        raise MagrefError(
            f"the picture name {shorten(name, 40)!r} cannot be a file's: give its name in ComfyUI's input "
            "folder"
        ) from error
    if not path.is_relative_to(folder):
        raise MagrefError(
            f"the picture {name!r} lies outside ComfyUI's input folder: copy it there and give its name in "
            "the folder"
        )
    if not exists:
        raise MagrefError(
            f"the picture {name!r} is not in ComfyUI's input folder: add it to MAGREF Load References, or "
            "correct the name"
        )
    return path


def read_file(file: str, *, name: str, entry: Entry) -> Reference:
    """One picture of an entry.

    Args:
        file: its name in the input folder.
        name: of the reference, one of `entry.names`.
        entry: says kind, subject and whether the picture stays whole.

    Raises:
        MagrefError: it is not in the folder, or no picture that can be read.
    """
    picture, alpha = read_picture(input_file(file), label=file)
    return Reference(
        name=name,
        kind=entry.kind,
        image=picture,
        alpha=alpha,
        subject=entry.name if entry.photos else None,
        keep_whole=entry.keep_whole,
        word=entry.word,
    )


def load_files(text: str) -> tuple[Reference, ...]:
    """The references of a list that names files alone, without any socket.

    Args:
        text: see `parse_entries`; what is switched off is left out.

    Returns:
        One reference for each file, with the photos of a subject after its first.

    Raises:
        MagrefError: the list cannot be used, holds nothing in use or names a socket, or a file is no picture.
    """
    entries = parse_entries(text)
    used = in_use(entries)
    check_any(entries, used)
    for entry in used:
        if entry.file is None:
            raise MagrefError(
                f"{shorten(entry.name, 40)} names the socket {shorten(str(entry.image), 40)!r}, but no "
                "socket is connected here: give a file of the input folder"
            )
    return tuple(
        read_file(file, name=name, entry=entry)
        for entry in used
        for file, name in zip(entry.files, entry.names, strict=True)
    )


def check_any(entries: list[Entry], used: list[Entry], *, else_do: str = "") -> None:
    """Refuse a list of which nothing is in use.

    Args:
        entries: all of them.
        used: those that are not switched off.
        else_do: where the list is empty, what may be done in place of writing an entry; ends in "or ".

    Raises:
        MagrefError: `used` is empty.
    """
    if used:
        return
    if entries:
        raise MagrefError("all references are switched off, but at least one is needed: switch one on")
    raise MagrefError(
        f"no reference is given, but at least one picture is needed: {else_do}"
        f"write an entry such as {EXAMPLE}"
    )
