"""Files that are whole or not there: a run that is cut off never costs the last good one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from ..errors import MagrefError


class TrainingError(MagrefError):
    """A run that cannot start or go on; the message says what to change."""

    __module__ = "magref"


def write_whole(file: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `file`, and put it in place only once it is on the disk.

    Args:
        file: what to write or replace; its folder is made.
        write: is given the temporary path.

    Raises:
        TrainingError: the disk is full or refuses the file; the old one is untouched.
    """
    temporary = file.with_name(f".{file.name}.part")  # one left over from a killed process is written over
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(file)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
        raise TrainingError(
            f"{file.name} could not be written ({error}); an earlier version is untouched: free some space "
            "or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; see `write_whole`."""
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_whole(file, lambda path: save_file(contiguous, path, metadata={"format": "pt", **metadata}))


def save_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8; see `write_whole`."""

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    write_whole(file, write)
