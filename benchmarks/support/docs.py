"""Tables in the pages of docs that a command fills."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.host_install import HostError


def put_between_marks(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- MARK -->` and `<!-- end of MARK -->`.

    Raises:
        HostError: the page lacks the marks, or has them twice.
    """
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    content = page.read_text(encoding="utf-8")
    pattern = rf"(?<={re.escape(start)}\n).*?(?={re.escape(end)})"
    changed, count = re.subn(pattern, lambda _: f"\n{text}\n\n", content, flags=re.DOTALL)
    if count != 1:
        raise HostError(f"{page.name} must have the marks {start} and {end} once: put them back")
    page.write_text(changed, encoding="utf-8")
