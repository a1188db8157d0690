"""Folders and disks that refuse, as a system does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def closed(folder: Path) -> Iterator[Path]:
    """Make a folder and close it, for root as well: nothing in it can be looked up or made."""
    folder.mkdir()
    if os.name == "posix" and os.geteuid() != 0:
        folder.chmod(0)
        try:
            yield folder
        finally:
            folder.chmod(0o700)
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("stat", "mkdir", "open"):
            monkeypatch.setattr(Path, name, _refusing(getattr(Path, name), folder))
        yield folder


def _refusing(original: Any, folder: Path) -> Any:
    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path, *arguments, **options)

    return call


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, not even the output of the tests: keep it short."""
    resource = pytest.importorskip("resource", reason="the limit of file sizes exists on POSIX only")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
