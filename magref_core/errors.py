"""The errors that tell a user what is given, what is needed and what to change."""

from __future__ import annotations


class MagrefError(ValueError):
    """Something the user can mend; the message says how."""

    # Hosts title an error by its module: without this, by the path of the folder that holds the pack.
    __module__ = "magref"


class ShapeError(MagrefError):
    """A size, count or tensor shape that does not fit."""

    __module__ = "magref"


class CheckpointError(MagrefError):
    """A weight file that is broken, incomplete or of another model."""

    __module__ = "magref"
