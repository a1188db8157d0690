"""The command that converts: where its file goes, how it is stopped and gone on with, what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import conversion
from benchmarks.support.quality_change import change_table, changes_table, place_bundle
from magref_core.conversion.formats import FORMATS
from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from scripts import ROOT, convert
from scripts.host_install import HostError

CONFIG = DiTConfig(dim=256, ffn_dim=8192, num_heads=2, num_layers=4, text_dim=8, clip_dim=12, freq_dim=16)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    torch.manual_seed(0)
    shapes = MagrefDiT(CONFIG, Backend(device="meta")).state_dict()
    file = tmp_path_factory.mktemp("source") / "magref.safetensors"
    save_file({name: torch.randn(value.shape) * 0.1 for name, value in shapes.items()}, file)
    return file


def command(source, target, *words):
    return [
        sys.executable,
        ROOT / "scripts" / "convert.py",
        source,
        "--format",
        "nvfp4",
        "--out",
        target,
        *words,
    ]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_the_command_knows_the_formats_of_the_core():
    assert convert.NAMES == FORMATS


@pytest.mark.parametrize(
    ("source_name", "out", "expected"),
    [
        ("a/magref.safetensors", None, "a/magref_fp8.safetensors"),
        ("a/dit.safetensors.index.json", None, "a/dit_fp8.safetensors"),
        ("a/magref.safetensors", "b/x.safetensors", "b/x.safetensors"),
        ("a/magref.safetensors", "b/folder", "b/folder/magref_fp8.safetensors"),
    ],
)
def test_the_new_file_lies_beside_the_source_or_where_it_is_told(source_name, out, expected):
    from pathlib import Path

    target = convert.target_of(Path(source_name), "fp8", None if out is None else Path(out))
    assert target == Path(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_a_command_that_is_terminated_goes_on_with_what_was_done_to_the_same_bytes(source, tmp_path):
    whole, target = tmp_path / "whole.safetensors", tmp_path / "new.safetensors"
    subprocess.run(command(source, whole), env=environment(), check=True, capture_output=True)
    process = subprocess.Popen(
        command(source, target), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    draft = tmp_path / ".new.safetensors.part"
    # Its progress comes a line every ten per cent: some tensors are done, and most are not.
    told = next(line for line in process.stderr if " % of " in line and int(line.split("%")[0]) >= 10)
    assert int(told.split("%")[0]) < 90
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert not target.exists()
    assert draft.exists()
    again = subprocess.run(
        command(source, target), env=environment(), check=True, capture_output=True, text=True
    )
    assert target.read_bytes() == whole.read_bytes()
    assert not draft.exists()
    assert "48 matrices shortened" in again.stdout
    report = json.loads((tmp_path / "new.report.json").read_text())
    assert len(report["layers"]) == len(load_file(source))
    resumed = re.search(r"^(\d+) tensors were done by an earlier run that was stopped", again.stdout, re.M)
    assert resumed and 0 < int(resumed[1]) == report["num_resumed"] < len(report["layers"])
    first = next(line for line in again.stderr.splitlines() if " % of " in line)
    assert int(first.split("%")[0]) >= 10


def test_a_mistake_is_one_sentence(source, tmp_path):
    ran = subprocess.run(
        command(tmp_path / "absent.safetensors", tmp_path / "x.safetensors"),
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert ran.stderr.strip() == "error: absent.safetensors does not exist: choose another file"


@pytest.mark.skipif(sys.platform == "win32", reason="the system has another word for it there")
def test_a_name_that_is_too_long_is_one_sentence_and_leaves_nothing(source, tmp_path):
    ran = subprocess.run(
        command(source, tmp_path / f"{'x' * 300}.safetensors"),
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert re.fullmatch(
        r"error: x+\.safetensors could not be written \(File name too long\): choose a shorter name",
        ran.stderr.strip(),
    )
    assert list(tmp_path.iterdir()) == []


def record(number, identity):
    return {"set": "one", "number": number, "seed": number, "scores": {"ours": {"identity": (identity, 1.0)}}}


def test_a_report_that_cannot_be_written_costs_no_converted_file(source, tmp_path):
    target = tmp_path / "new.safetensors"
    ran = subprocess.run(
        command(source, target, "--report", source / "below a file.json"),
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    sentence = "error: new.safetensors is written and whole, but below a file.json could not be ("
    assert sentence in ran.stderr and "Traceback" not in ran.stderr
    assert "48 matrices shortened" in ran.stdout
    assert load_file(target)


def test_the_change_of_quality_is_told_with_its_interval():
    before = [record(number, 1.0) for number in range(40)]
    after = [record(number, float(number % 2)) for number in range(40)]
    (row,) = [line for line in change_table(before, after).splitlines() if "1 subject" in line]
    assert row.startswith("| identity top-1, 1 subject | 1.000 | 0.500 | -0.500 [")
    assert row.endswith("| significant |")
    assert "+0.000 [+0.000, +0.000] | not significant" in change_table(before, before)


def test_several_formats_stand_side_by_side_with_what_changed_for_certain_in_bold():
    before = [record(number, 1.0) for number in range(40)]
    worse = [record(number, float(number % 2)) for number in range(40)]
    lines = changes_table(before, {"bf16": before, "nvfp4": worse}).splitlines()
    assert lines[0] == "| 40 scenes | before | bf16 | nvfp4 |"
    (row,) = [line for line in lines if "1 subject" in line]
    assert row.startswith("| identity top-1, 1 subject | 1.000 | +0.000 [+0.000, +0.000] | **-0.500 [-0.")
    assert {line.count("|") for line in lines} == {5}
    with pytest.raises(ValueError, match="the two runs are of other scenes"):
        changes_table(before, {"bf16": before, "fp8": before[:-1]})


def test_the_table_of_all_formats_tells_how_to_make_it_again():
    result = {
        "date": "2026-01-01",
        "commit": "abc",
        "machine": {"torch": "2", "processor": "x"},
        "model": "m.safetensors",
        "scenes": 40,
        "steps": 20,
        "weight_errors": {"fp8": 0.0265},
        "megabytes": {"fp8": 7.25},
        "records": {"before": [record(0, 1.0)], "fp8": [record(0, 0.0)]},
    }
    lines = conversion.text_of(result).splitlines()
    assert lines[2:4] == ["| error of the weights | | 2.65% |", "| file | | 7.2 MB |"]
    assert lines[-1] == (
        "Again: `python scripts/bench.py conversion --scenes 40 --steps 20 --formats fp8 --docs`"
    )
    assert lines[4].startswith("| identity top-1, 1 subject | 1.000 | ")


def test_a_bundle_without_its_other_files_is_one_sentence(tmp_path):
    with pytest.raises(HostError, match=r"holds no folder vae: give --bundle a folder laid out like"):
        place_bundle(tmp_path, tmp_path / "x.safetensors", tmp_path / "new")


def test_runs_of_other_scenes_are_not_compared():
    with pytest.raises(ValueError, match="the two runs are of other scenes"):
        change_table([record(0, 1.0)], [record(1, 1.0)])
