"""The matrix of formats: its table, its place in the documents, and that it is whole there."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from benchmarks import conversion, formats, profiles
from benchmarks.formats import Row
from benchmarks.support.docs import put_between_marks
from benchmarks.support.format_files import FORMATS
from benchmarks.support.gguf_writing import pack, unpack
from magref_core.dit.gguf_blocks import BLOCK_FORMATS
from scripts.host_install import HostError

MIB = 2**20


def test_the_documents_show_every_format_and_that_it_loads():
    rows = re.findall(r"^\| (.+?) \| (yes|no.*?) \|", formats.DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == dict.fromkeys(FORMATS, "yes")


def test_every_block_format_is_in_the_matrix():
    assert {f"GGUF {kind}" for kind in BLOCK_FORMATS} <= set(FORMATS)


def test_the_table_gives_errors_and_memory_against_fp32():
    rows = [
        Row(name="fp32", file_bytes=8 * MIB, weight_bytes=8 * MIB),
        Row(name="short", file_bytes=MIB, weight_bytes=2 * MIB, output_error=0.0123, lora_error=0.5),
        Row(name="broken", fault="it is broken", file_bytes=MIB),
    ]
    lines = formats.table(rows).splitlines()
    assert lines[2] == "| fp32 | yes | 0.00% | 0.00% | 8.0 MiB | 8.0 MiB | 100% |"
    assert lines[3] == "| short | yes | 1.23% | 50.00% | 1.0 MiB | 2.0 MiB | 25% |"
    assert lines[4].startswith("| broken | no: it is broken |")
    with_peak = formats.table([Row(name="x", file_bytes=MIB, weight_bytes=MIB, peak_bytes=3 * MIB)])
    assert {line.count("|") for line in with_peak.splitlines()} == {9}


def test_under_the_table_stand_model_day_and_machine():
    result = {
        "date": "2026-01-02",
        "device": "cuda",
        "machine": {"torch": "2.9", "processor": "small", "gpu": "large"},
        "model": "m.safetensors",
        "weights": 6_300_000,
        "lora_change": 0.09,
    }
    lines = formats.report(result, [Row(name="fp32", weight_bytes=MIB)]).splitlines()
    assert lines[2].startswith("| fp32 | yes |")
    assert lines[-1] == (
        "`m.safetensors`, 6.3 million weights, on cuda, 2026-01-02; torch 2.9, large. "
        "The LoRA changes the output by 9%."
    )


def test_the_table_replaces_what_stood_between_its_marks(tmp_path):
    page = tmp_path / "formats.md"
    page.write_text("above\n<!-- matrix -->\nold\n<!-- end of matrix -->\nbelow\n")
    for text in ("| new |", r"| \1 newer |"):
        put_between_marks(page, "matrix", text)
    assert page.read_text() == (
        "above\n<!-- matrix -->\n\n" + r"| \1 newer |" + "\n\n<!-- end of matrix -->\nbelow\n"
    )
    page.write_text("no marks")
    with pytest.raises(HostError, match=r"formats.md must have the marks <!-- matrix --> and"):
        put_between_marks(page, "matrix", "x")


@pytest.mark.parametrize(
    ("page", "mark"),
    [(formats.DOCS, "matrix"), (conversion.DOCS, conversion.MARK), (profiles.DOCS, profiles.MARK)],
)
def test_the_pages_have_their_marks_once(page, mark):
    text = page.read_text(encoding="utf-8")
    assert text.count(f"<!-- {mark} -->\n") == text.count(f"<!-- end of {mark} -->\n") == 1


@pytest.mark.parametrize(("kind", "limit"), [("Q6_K", 0.03), ("Q5_K", 0.05), ("Q4_K", 0.1), ("Q3_K", 0.2)])
def test_what_the_bench_packs_means_what_was_packed(kind, limit):
    numbers = np.random.default_rng(0).standard_normal((4, 512)).astype(np.float32)
    numbers[1] = 0
    numbers[2] *= 1e-3
    again = unpack(pack(numbers, kind), kind)
    for row, exact in zip(again, torch.from_numpy(numbers), strict=True):
        assert (row - exact).norm() <= limit * exact.norm()
