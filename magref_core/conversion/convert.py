"""From the weights of a DiT to one file in a shorter format, holding one matrix in memory at a time."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, MagrefError
from .formats import Format, format_named
from .journal import Draft
from .plan import Job, Plan, make_plan
from .quantise import Loss, not_finite, quantise
from .report import Layer, Report
from .source import Source, Stored, open_source

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"
SPARE_BYTES = 2**24
"""Room on the disk beside the file itself, for notes and the like."""

_ELSEWHERE = "choose another folder"
_MAY_NOT = "choose a folder that may be written to"
_NO_ROOM = "free some space or choose another folder"
_REMEDIES = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
    errno.EROFS: _MAY_NOT,
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,
}
"""Why the system refuses to write -> what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who looks on."""

    check: Callable[[], None] = lambda: None
    """Called several times a second; may raise to stop. The work so far is kept."""
    on_progress: Callable[[int, int], None] = lambda done, total: None
    """Given bytes of the source that are done, and all."""


def convert(
    source: Path, target: Path, format_name: str, *, overwrite: bool = False, watch: Watch | None = None
) -> Report:
    """Convert a DiT.

    A run that is stopped leaves a draft beside the target, hidden and under another name; the same call goes
    on with it, and gives the same file as a run in one piece.

    Args:
        source: a safetensors file, or the index of a sharded model.
        target: the new file, `.safetensors`.
        format_name: one of `formats.FORMATS`.
        overwrite: replace a file that exists.
        watch: who looks on.

    Returns:
        Sizes and losses.

    Raises:
        CheckpointError: the source is no whole DiT, in a short format already, or holds values that are not
            finite.
        MagrefError: the format is unknown, or the target cannot be written. No half file is left.
    """
    watch = Watch() if watch is None else watch
    form = format_named(format_name)
    opened = open_source(source)
    plan = make_plan(opened, form)
    draft = _begin(target, opened, plan, overwrite=overwrite)
    num_resumed = len(draft.done)
    try:
        with draft:
            facts = _run(opened, form, plan, draft, watch)
            draft.finish()
    except CheckpointError:
        draft.discard()
        raise
    except OSError as error:
        draft.discard()
        raise _unwritable(target, error, left="; nothing is left of it") from error
    return Report(
        source=opened.label,
        target=target.name,
        format=form.name,
        source_bytes=sum(stored.num_bytes for stored in opened.tensors.values()),
        target_bytes=plan.num_bytes,
        layers=[_layer(name, stored, facts[name]) for name, stored in opened.tensors.items()],
        left_out=opened.left_out,
        num_resumed=num_resumed,
    )


def draft_of(target: Path) -> Path:
    """Where the draft of a target lies while it is under way."""
    return target.with_name(f".{target.name}.part")


def _begin(target: Path, source: Source, plan: Plan, *, overwrite: bool) -> Draft:
    """The draft that is to be written or gone on with, if nothing stands in its way."""
    try:
        _check_target(target, source, overwrite=overwrite)
        draft = Draft(target, plan)
        _check_room(draft)
    except OSError as error:
        raise _unwritable(target, error) from error
    return draft


def _unwritable(target: Path, error: OSError, left: str = "") -> MagrefError:
    reason, remedy = f"({error.strerror or error}){left}", _REMEDIES.get(error.errno or 0, _ELSEWHERE)
    return MagrefError(f"{target.name} could not be written {reason}: {remedy}")


def _run(source: Source, form: Format, plan: Plan, draft: Draft, watch: Watch) -> dict[str, dict[str, Any]]:
    total = sum(stored.num_bytes for stored in source.tensors.values())
    done = sum(source.tensors[name].num_bytes for name in draft.done if name in source.tensors)
    watch.on_progress(done, total)
    for job in plan.jobs:
        if job.name in draft.done:
            continue
        stored = source.tensors[job.name]
        facts: dict[str, Any] = {}
        if job.is_shortened:
            facts = _shorten(job, stored, form, draft, watch)
        else:
            _keep(job, stored, draft, watch)
        draft.note(job.name, facts)
        done += stored.num_bytes
        watch.on_progress(done, total)
    draft.commit()
    return draft.done


def _shorten(job: Job, stored: Stored, form: Format, draft: Draft, watch: Watch) -> dict[str, Any]:
    weight = stored.read(watch.check)
    parts, loss = quantise(weight, form, check=watch.check, label=f"{stored.file.name}: {job.name}")
    for name, value in parts.items():
        draft.write(job.places[name], [value])
    return asdict(loss)


def _keep(job: Job, stored: Stored, draft: Draft, watch: Watch) -> None:
    def finite() -> Iterator[Tensor]:
        for piece in stored.pieces(watch.check):
            if not torch.isfinite(piece).all():
                raise not_finite(f"{stored.file.name}: {job.name}")
            yield piece

    draft.write(job.places[""], finite())


def _layer(name: str, stored: Stored, facts: dict[str, Any]) -> Layer:
    dtype = str(stored.dtype).removeprefix("torch.")
    return Layer(name=name, source_dtype=dtype, loss=Loss(**facts) if facts else None)


def _check_target(target: Path, source: Source, *, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise MagrefError(f"the new file is to be called {target.name}, but its name must end with {SUFFIX}")
    if target.exists() and any(target.samefile(file) for file in source.files):
        raise MagrefError(
            f"{target.name} is the file that is to be converted: choose another name for the new one"
        )
    if target.is_dir():
        raise MagrefError(f"{target.name} is a folder: choose another name for the new file")
    if target.exists() and not overwrite:
        raise MagrefError(f"{target.name} exists already: choose another name, or allow it to be overwritten")


def _check_room(draft: Draft) -> None:
    """Refuse to begin what the disk has no room for."""
    folder = next(parent for parent in draft.target.absolute().parents if parent.exists())
    needed, free = draft.missing_bytes + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise MagrefError(
            f"{draft.target.name} needs {needed / 1e9:.1f} GB, but the disk of {folder} has "
            f"{free / 1e9:.1f} GB free: free some space or choose another folder"
        )
