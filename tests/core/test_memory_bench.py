"""The benchmark of peak memory: its table, its file of zeros, and how it watches a card."""

from __future__ import annotations

import time

import torch

from benchmarks.memory import GB, CardPeak, Row, latent_shape, table
from benchmarks.support.sparse_dit import write_sparse_dit
from magref_core.dit.checkpoint import load_dit
from magref_core.dit.config import DiTConfig


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


def test_the_watch_sees_a_peak_between_its_beginning_and_its_end():
    used = [5]
    with CardPeak(lambda: used[0]) as card:
        used[0] = 9
        time.sleep(0.1)
        used[0] = 2
    assert card.peak == 9
    used[0] = 100
    assert card.peak == 9
