"""The two types of our own that travel on links; everything else is the host's."""

from __future__ import annotations

from comfy_api.latest import io

References = io.Custom("MAGREF_REFERENCES")
"""tuple[Reference, ...] of magref_core."""

MagrefCanvas = io.Custom("MAGREF_CANVAS")
"""Canvas of magref_core."""
