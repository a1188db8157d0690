"""The errors that tell a user what is given, what is needed and what to change."""

from __future__ import annotations


class MagrefError(ValueError):
    """Something the user can mend; the message says how."""


class ShapeError(MagrefError):
    """A size, count or tensor shape that does not fit."""


class CheckpointError(MagrefError):
    """A weight file that is broken, incomplete or of another model."""
