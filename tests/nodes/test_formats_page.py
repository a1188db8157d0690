"""What docs/formats.md promises of the help pages: every refusal of a weight file or LoRA stands there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from .test_surface import ROOT, pieces, section

READING = {
    "MagrefDiTLoader": (
        *(
            f"magref_core/dit/{name}.py"
            for name in ("checkpoint", "families", "gguf_file", "safetensors_file")
        ),
        *("magref_core/dit/shards.py", "nodes/quantisation.py", "nodes/gguf.py", "nodes/loaders.py"),
    ),
    "MagrefLoraLoader": ("magref_core/dit/lora.py", "magref_core/dit/lora_parts.py", "nodes/lora.py"),
}
"""Node -> the files whose errors it shows."""

WITHOUT_HOST = ("load it in ComfyUI, or choose a bf16 file", "is not a GGUF file: choose")
"""Of `load_dit` and `read_header`, which no node calls in such a case."""
OF_OURSELVES = "patches of the LoRA did not reach the model"
"""Said if the host changes under us, never of a file."""
GROUPED = "is broken ("
"""Of such sentences the page has some, for all."""


def refusals(file: str) -> Iterator[list[str | None]]:
    """The pieces of each sentence that a file raises, or returns for another to raise."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        said = (
            node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        )
        if isinstance(said, ast.Call) and getattr(said.func, "id", "").endswith("Error") and said.args:
            said = said.args[0]
        if isinstance(said, ast.JoinedStr | ast.BinOp | ast.Constant):
            texts = list(pieces(said))
            if any(text and (": " in text or GROUPED in text) for text in texts):
                yield texts


@pytest.mark.parametrize(
    ("node_id", "file"), [(node, file) for node, files in READING.items() for file in files]
)
def test_a_help_page_has_every_refusal(node_id, file):
    quoted = re.findall(r"^- \*\*(.+?)\*\*", section(node_id, "When it fails"), flags=re.MULTILINE)
    found = list(refusals(file))
    assert found
    for texts in found:
        words = "".join(text or "" for text in texts)
        if any(told in words for told in (*WITHOUT_HOST, OF_OURSELVES, GROUPED)):
            continue
        pattern = re.compile("".join(".+?" if text is None else re.escape(text) for text in texts))
        assert any(pattern.fullmatch(sentence) for sentence in quoted), words
