"""A folder that this user may not search, also where the tests run as root, who may do all."""

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
    """Make a folder and close it: what is said to lie in it can be neither looked up nor made."""
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
