"""The benchmark of peak memory: its table, its file of zeros, and how it watches a card."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks.memory import (
    GB,
    PRECISIONS,
    SMALL,
    Bench,
    CardPeak,
    Row,
    check_precisions,
    latent_shape,
    report,
    table,
)
from benchmarks.support.dit_models import PACK
from benchmarks.support.sparse_dit import write_sparse_dit
from magref_core.dit.checkpoint import load_dit
from magref_core.dit.config import DiTConfig
from magref_core.sampling.memory import MemoryNeed
from scripts import ROOT
from scripts.host_install import HostError


def test_a_file_of_zeros_is_a_whole_dit_and_takes_no_room(tmp_path):
    config = DiTConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=2)
    file = write_sparse_dit(tmp_path / "zeros.safetensors", config)
    dit = load_dit(file)
    assert dit.config == config
    weights = dit.state_dict().values()
    assert not any(torch.count_nonzero(weight) for weight in weights)
    used = getattr(file.stat(), "st_blocks", 0) * 512
    assert used < file.stat().st_size / 10


def test_the_latent_is_that_of_the_video():
    assert latent_shape({"frames": 81, "width": 832, "height": 480}) == (1, 16, 21, 60, 104)


def test_the_table_tells_what_was_measured_what_was_planned_and_what_was_not():
    rows = [
        Row(label="a", weight_bytes=16 * GB, peak_bytes=22 * GB, tensor_bytes=6 * GB, planned_bytes=26 * GB),
        Row(label="b", weight_bytes=8 * GB, peak_bytes=None, fault="CUDA out of memory"),
    ]
    lines = table(rows, "cuda").splitlines()
    assert lines[2:] == [
        "| a | 16.0 GB | 22.0 GB | 6.0 GB | 26.0 GB |",
        "| b | 8.0 GB | no: CUDA out of memory | not measured | not measured |",
    ]
    assert table(rows, "cpu").endswith("peak video memory is not measured.")


def test_the_report_tells_day_commit_size_and_machine():
    facts = {"date": "2026-01-02", "commit": "abc", "device": "cpu", "size": SMALL, "machine": {"cores": 2}}
    lines = report(facts, [Row(label="a", weight_bytes=GB, peak_bytes=GB)]).splitlines()
    assert lines[0] == "# Peak memory on cpu, 2026-01-02"
    assert "| a | 1.0 GB | 1.0 GB | not measured | not measured |" in lines
    assert lines[-3:] == [
        "- 17 frames at 96 x 64, guidance 5.",
        "- Commit: abc.",
        "- Machine: cores 2.",
    ]


def test_the_page_names_the_precisions_that_are_measured():
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    assert f"in {', '.join(PRECISIONS[:-1])} and {PRECISIONS[-1]} " in page


class Guider:
    def __init__(self, patcher):
        self.model_patcher = patcher

    def set_conds(self, positive, negative):
        pass

    def set_cfg(self, scale):
        pass


def test_what_was_planned_is_what_the_sentence_before_the_run_needs(monkeypatch):
    pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)
    need = MemoryNeed(weights=16 * GB, one_pass=10 * GB, prompts=2)
    ran = []
    modules = {
        "comfy.clip_vision": SimpleNamespace(Output=dict),
        "comfy.samplers": SimpleNamespace(CFGGuider=Guider),
        f"{PACK}.nodes.sampling": SimpleNamespace(
            MagrefSampler=SimpleNamespace(execute=lambda *given: ran.append(given))
        ),
        f"{PACK}.nodes.memory_plan": SimpleNamespace(need_of=lambda guider, latent: need),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    config = {"clip_dim": 8, "text_len": 4, "text_dim": 8}
    patcher = SimpleNamespace(
        model=SimpleNamespace(model_config=SimpleNamespace(unet_config=config)),
        model_size=lambda: 16 * GB,
    )
    row = Bench("cpu", SMALL).sample("bf16", patcher)
    assert len(ran) == 1 and not row.fault
    assert row.planned_bytes == 26 * GB


def test_a_precision_that_the_loader_lacks_is_told_in_a_sentence():
    known = {name: {} for name in ("default", *PRECISIONS)}
    check_precisions(PRECISIONS, known)
    with pytest.raises(HostError, match=r"the precision 'int4' is unknown: use default, bf16, fp16, fp8"):
        check_precisions(["bf16", "int4"], known)


def test_the_watch_sees_a_peak_between_its_beginning_and_its_end():
    used = [5]
    with CardPeak(lambda: used[0]) as card:
        used[0] = 9
        time.sleep(0.1)
        used[0] = 2
    assert card.peak == 9
    used[0] = 100
    assert card.peak == 9
