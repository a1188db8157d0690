"""Commands of the project. Each runs with a bare Python: `python scripts/<name>.py`."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - the scripts are what tells the user
    found = ".".join(str(part) for part in sys.version_info[:3])
    raise SystemExit(
        f"this is Python {found}, but 3.10 or newer is needed: start the script with a newer one"
    )

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the pack."""
