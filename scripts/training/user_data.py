"""A folder of somebody's own clips and pictures: what to learn from, and what is wrong with it.

One folder per sample holds `clip.mp4` (or a folder `frames`, or `picture.png` for a still), `prompt.txt` and
the folder `references`. Crossed, a folder holds pictures of one subject, and each is learnt from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magref_core.canvas.references import Kind
from magref_core.training.files import TrainingError

VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
BACKGROUND = "background"
"""Start of the names of references that show a place."""

TargetKind = Literal["video", "frames", "picture"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A picture of a subject or a place."""

    subject: str
    """Pictures of one subject share it."""
    kind: Kind
    file: Path
    mask: Path | None = None
    """White on the subject; None: the picture's own alpha, or the whole picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What one clip is learnt from."""

    name: str
    """Differs among all materials of a folder; can be a file's name."""
    prompt: str
    target: Path
    kind: TargetKind
    mask: Path | None
    """White where the target shows a subject."""
    references: tuple[Source, ...]
    prompt_file: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read, and the folders whose content counts."""
        masks = [mask for mask in (self.mask, *(source.mask for source in self.references)) if mask]
        frames = pictures_in(self.target) if self.kind == "frames" else []
        references = [source.file for source in self.references]
        folders = {file.parent for file in references}
        return (self.target, self.prompt_file, *frames, *masks, *references, *folders)


def find_materials(folder: Path, *, cross: bool = False) -> list[Material]:
    """Everything there is to learn from, in the order of its names.

    Args:
        folder: see the head of this file.
        cross: take each picture of a subject as the target of the others.

    Raises:
        TrainingError: there is nothing, or a part of a sample is missing, empty or there twice.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}: give the one that holds your clips or pictures")
    if cross:
        subjects = [folder] if pictures_in(folder) else _subfolders(folder)
        materials = [material for subject in subjects for material in _crossed(subject)]
    else:
        materials = [_material(sample) for sample in _subfolders(folder)]
    if materials:
        return materials
    if not cross and pictures_in(folder):
        raise TrainingError(
            f"the folder {folder} holds pictures, but no folder per sample: make one with prompt.txt and "
            "references for each, or add --cross if all show one subject"
        )
    raise TrainingError(
        f"the folder {folder} holds nothing to learn from: put "
        + ("pictures of a subject" if cross else "a folder with a clip, prompt.txt and references")
        + " into it"
    )


def pictures_in(folder: Path) -> list[Path]:
    """Pictures directly in a folder, in the order in which people count: 2 before 10."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES and not _is_hidden(file)]
    return sorted(found, key=_count_order)


def subject_of(file: Path) -> tuple[str, Kind]:
    """The subject and kind that a reference's name tells: `ann_2.png` is another picture of `ann`."""
    name = re.sub(r"[ _-]*\d+$", "", file.stem) or file.stem
    return name, "background" if name.lower().startswith(BACKGROUND) else "object"


def _material(folder: Path) -> Material:
    target, kind = _target(folder)
    pictures = pictures_in(folder / "references")
    if not pictures:
        raise TrainingError(
            f"the sample '{folder.name}' has no references: put pictures of its subjects into "
            f"{folder.name}/references"
        )
    references: list[Source] = []
    for file in pictures:
        subject, subject_kind = subject_of(file)
        mask = _only(folder / "references" / "masks", file.stem, PICTURE_SUFFIXES)
        references.append(Source(subject=subject, kind=subject_kind, file=file, mask=mask))
    prompt_file = folder / "prompt.txt"
    return Material(
        name=folder.name,
        prompt=_read_prompt(prompt_file, folder.name),
        target=target,
        kind=kind,
        mask=_only(folder, "mask", VIDEO_SUFFIXES + PICTURE_SUFFIXES),
        references=tuple(references),
        prompt_file=prompt_file,
    )


def _target(folder: Path) -> tuple[Path, TargetKind]:
    found: list[tuple[Path, TargetKind]] = []
    if clip := _only(folder, "clip", VIDEO_SUFFIXES):
        found.append((clip, "video"))
    if pictures_in(folder / "frames"):
        found.append((folder / "frames", "frames"))
    if picture := _only(folder, "picture", PICTURE_SUFFIXES):
        found.append((picture, "picture"))
    if len(found) != 1:
        there = " and ".join(path.name for path, _ in found) or "nothing of the kind"
        raise TrainingError(
            f"the sample '{folder.name}' has {there}, but exactly one of clip.mp4, frames/*.png and "
            "picture.png is needed: add or remove some"
        )
    return found[0]


def _crossed(folder: Path) -> Iterator[Material]:
    pictures = pictures_in(folder)
    if len(pictures) < 2:
        raise TrainingError(
            f"the folder '{folder.name}' holds {len(pictures)} pictures, but a subject needs at least 2, so "
            "that each is learnt from another: add some"
        )
    masks = {file: _only(folder / "masks", file.stem, PICTURE_SUFFIXES) for file in pictures}
    sources = [Source(subject=folder.name, kind="object", file=file, mask=masks[file]) for file in pictures]
    for picture in pictures:
        own = picture.with_suffix(".txt")
        prompt_file = own if own.is_file() else folder / "prompt.txt"
        yield Material(
            name=f"{folder.name} {picture.name}",
            prompt=_read_prompt(prompt_file, f"{folder.name}/{picture.name}"),
            target=picture,
            kind="picture",
            mask=masks[picture],
            references=tuple(source for source in sources if source.file != picture),
            prompt_file=prompt_file,
        )


def _read_prompt(file: Path, label: str) -> str:
    if not file.is_file():
        raise TrainingError(
            f"'{label}' has no prompt: write what is seen, and what happens, into {file.name} beside it"
        )
    try:
        prompt = " ".join(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(
            f"the prompt {file.name} of '{label}' cannot be read ({error}): save it as UTF-8"
        ) from error
    if not prompt:
        raise TrainingError(f"the prompt {file.name} of '{label}' is empty: write what is seen")
    return prompt


def _only(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """The one file of a name with any of the suffixes."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = sorted(file for file in files if file.stem == stem and file.suffix.lower() in suffixes)
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise TrainingError(f"the folder '{folder.name}' holds {names}, but one is needed: remove the others")
    return found[0] if found else None


def _subfolders(folder: Path) -> list[Path]:
    found = [entry for entry in folder.iterdir() if entry.is_dir() and not _is_hidden(entry)]
    return sorted(found, key=_count_order)


def _is_hidden(file: Path) -> bool:
    return file.name.startswith((".", "_"))


def _count_order(file: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in parts if part]
