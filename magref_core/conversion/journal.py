"""A file under way: beside its place, under another name, with notes of what is on the disk for good."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from .formats import bytes_of
from .plan import Place, Plan
from .source import PIECE

COMMIT_BYTES = 2**28
"""After so many bytes what was written is made safe and noted; a killed run loses no more than that."""


class Draft:
    """A file that grows under a temporary name; used in a `with` block.

    Leaving the block keeps what was noted, for a later run to go on with; `finish` puts the file in its
    place, `discard` removes it.
    """

    def __init__(self, target: Path, plan: Plan) -> None:
        self.target, self.plan = target, plan
        self.file = target.with_name(f".{target.name}.part")
        self.notes = target.with_name(f".{target.name}.part.jsonl")
        self.done: dict[str, dict[str, Any]] = self._read_notes()
        """Name of each finished job -> what was noted of it."""
        self._waiting: dict[str, dict[str, Any]] = {}
        self._unsafe_bytes = 0
        self._stream: Any = None
        self._fresh_notes = self.notes.with_suffix(".new")
        self._made_folders: list[Path] = []

    @property
    def missing_bytes(self) -> int:
        """What the disk must still have room for."""
        held = self.file.stat() if self.done and self.file.exists() else None
        blocks = getattr(held, "st_blocks", None)  # a file with holes takes less than its size
        taken = 0 if held is None else held.st_size if blocks is None else blocks * 512
        return max(0, self.plan.num_bytes - taken)

    def __enter__(self) -> Draft:
        self._made_folders = [folder for folder in self.file.absolute().parents if not folder.exists()]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not self.done:
            self.file.write_bytes(self.plan.header)
        # Anew, without a last line that may have been cut off.
        lines = [{"plan": self.plan.fingerprint}, *map(_line, self.done, self.done.values())]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._fresh_notes.write_text(text, encoding="utf-8")
        self._fresh_notes.replace(self.notes)
        self._stream = self.file.open("r+b", buffering=0)
        self._stream.truncate(self.plan.num_bytes)
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream.closed:
            return
        try:
            with contextlib.suppress(OSError):
                self.commit()
        finally:
            self._stream.close()

    def write(self, place: Place, values: Iterable[Tensor]) -> None:
        """Write tensors one after the other.

        Raises:
            OSError: the disk is full or refuses.
        """
        self._stream.seek(place.start)
        for value in values:
            flat = value.contiguous().reshape(-1).view(torch.uint8)
            for start in range(0, len(flat), PIECE):
                view = bytes_of(flat[start : start + PIECE])
                self._unsafe_bytes += len(view)
                while view:  # an unbuffered stream may take less than it is given
                    view = view[self._stream.write(view) :]

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """A job is done; it is noted on the disk together with others."""
        self._waiting[name] = facts
        if self._unsafe_bytes >= COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        """Make what was written safe, and note it."""
        os.fsync(self._stream.fileno())
        with self.notes.open("a", encoding="utf-8") as notes:
            for name, facts in self._waiting.items():
                notes.write(json.dumps(_line(name, facts)) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
        self.done |= self._waiting
        self._waiting, self._unsafe_bytes = {}, 0

    def finish(self) -> None:
        """Put the whole file in its place."""
        self.commit()
        self._stream.close()
        self.file.replace(self.target)
        self.notes.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave nothing behind, not even folders that were made for the file."""
        self._waiting = {}
        if self._stream is not None:
            self._stream.close()
        for file in (self.file, self.notes, self._fresh_notes):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        for folder in self._made_folders:
            with contextlib.suppress(OSError):  # others may have put something into it
                folder.rmdir()

    def _read_notes(self) -> dict[str, dict[str, Any]]:
        """What an earlier run of the same plan finished; nothing if it was another plan."""
        try:
            lines = self.notes.read_text(encoding="utf-8").splitlines()
            if self.file.stat().st_size != self.plan.num_bytes:
                return {}
        except (OSError, UnicodeDecodeError):
            return {}
        notes = [_note(line) for line in lines]
        if not notes or notes[0].get("plan") != self.plan.fingerprint:
            return {}
        return {note["done"]: note["facts"] for note in notes if "done" in note and "facts" in note}


def _line(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {"done": name, "facts": facts}


def _note(line: str) -> dict[str, Any]:
    """A line of the notes; empty where it was cut off."""
    try:
        content: Any = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
