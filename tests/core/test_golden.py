from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests import pack
from tests.golden import pipeline
from tests.golden.__main__ import AREAS, DATA, main
from tests.golden.report import compare, table

NEEDS_HOST = {"vae", "host_path"}
WEIGHTS = {"vae_weights.safetensors", "clip_weights.safetensors", "dit_weights.safetensors"}


def files_of(area: str) -> tuple[str, ...]:
    return importlib.import_module(f"tests.golden.{area}").FILES


@pytest.mark.parametrize("area", AREAS)
def test_the_shipped_numbers_are_met(area):
    if area in NEEDS_HOST and not pack.is_host_at_hand():
        pytest.skip("COMFYUI_PATH names no ComfyUI")
    rows = list(importlib.import_module(f"tests.golden.{area}").check(DATA))
    assert rows
    failed = [row for row in rows if not row.passed]
    assert not failed, f"\n{table(failed)}"


CORRUPTIONS = {
    "canvas": ("canvas.safetensors", "n4.latent_mask"),
    "cond": ("cond.safetensors", "f5.msk"),
    "clip": ("clip.safetensors", "n6_odd.pixels_rows"),
    "blocks": ("blocks.safetensors", "block1.out"),
    "dit": ("dit.safetensors", "b_odd_grid.out.0"),
    "schedulers": ("schedulers.safetensors", "unipc.shift3.steps40.trajectory"),
    "pipeline": ("pipeline.safetensors", "dpm81.latents"),
}


@pytest.mark.parametrize("area", CORRUPTIONS)
@pytest.mark.parametrize("kind", ["slightly wrong", "nan", "wrong shape"])
def test_one_corrupted_value_is_caught(tmp_path, capsys, area, kind):
    file, key = CORRUPTIONS[area]
    for name in files_of(area):
        shutil.copy(DATA / name, tmp_path)
    corrupt(tmp_path / file, key, kind)
    assert main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


def corrupt(file: Path, key: str, kind: str) -> None:
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    values = tensors[key].clone()
    if kind == "wrong shape":
        values = torch.cat([values, values[:1]])
    elif kind == "nan":
        values = values.float()
        values.flatten()[-1] = float("nan")
    else:
        values.flatten()[-1] += 1 if values.dtype == torch.uint8 else 1e-3
    save_file({**tensors, key: values}, file, metadata=metadata)


def test_a_prompt_may_be_stored_as_two_factors(tmp_path):
    for name in ("pipeline.safetensors", "dit.safetensors", "dit_weights.safetensors"):
        shutil.copy(DATA / name, tmp_path)
    tensors = load_file(tmp_path / "dit.safetensors")
    with safe_open(tmp_path / "dit.safetensors", "pt") as opened:
        metadata = opened.metadata()
    for name in ("context.23", "context.7"):
        tensors[f"{name}.right"] = tensors.pop(name)
        tensors[f"{name}.left"] = torch.eye(len(tensors[f"{name}.right"]))
    save_file(tensors, tmp_path / "dit.safetensors", metadata=metadata)
    rows = list(pipeline.check(tmp_path))
    assert "final latents" in [row.quantity for row in rows]
    assert all(row.passed for row in rows)


def test_a_timestep_off_by_one_is_caught(tmp_path, capsys):
    for name in files_of("schedulers"):
        shutil.copy(DATA / name, tmp_path)
    golden = json.loads((tmp_path / "schedulers.json").read_text("utf-8"))
    golden["dpm++.shift3.steps10"]["timesteps"][3] += 1
    (tmp_path / "schedulers.json").write_text(json.dumps(golden), "utf-8")
    assert main([str(tmp_path)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert len(failed) == 2  # as computed, and as carried through the sigmas
    assert all("dpm++.shift3.steps10" in line for line in failed)


def test_a_folder_with_a_case_of_its_own_is_checked_by_the_same_rules(tmp_path, capsys):
    noise = torch.randn(1, 16, 1, 2, 6, generator=torch.Generator().manual_seed(99))
    # One step from sigma 1 at timestep 1000, by hand: the state minus the toy network's velocity.
    final = noise - (0.8 * torch.tanh(2 * noise) + 0.5 * torch.sin(6 + noise) - 0.1 * noise)
    case = {"dpm++.shift2.5.steps1": {"timesteps": [1000], "sigmas": [1.0, 0.0]}}
    (tmp_path / "schedulers.json").write_text(json.dumps(case), "utf-8")
    tensors = {"noise": noise, "dpm++.shift2.5.steps1.trajectory": torch.stack([noise, final])}
    save_file(tensors, tmp_path / "schedulers.safetensors")
    assert main([str(tmp_path)]) == 0
    assert "4 passed, 0 failed" in capsys.readouterr().out


def test_missing_files_are_skipped_visibly(tmp_path, capsys):
    for name in files_of("schedulers"):
        shutil.copy(DATA / name, tmp_path)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for area in set(AREAS) - {"schedulers", "host_path"}:
        assert f"skipped {area}: {tmp_path} has no {files_of(area)[0]}" in out


@pytest.mark.parametrize("lone", [None, "schedulers.json", "README.md"])
def test_a_folder_in_which_nothing_can_be_compared_fails(tmp_path, capsys, lone):
    if lone:
        shutil.copy(DATA / lone, tmp_path)
    assert main([str(tmp_path)]) == 1
    assert f"nothing was compared: {tmp_path} holds none" in capsys.readouterr().out


def test_a_folder_that_does_not_exist_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nowhere")])
    assert stopped.value.code != 0
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "passed"), [([1.0, 2.0], True), ([1.0, 2.5], True), ([1.0, 2.51], False), ([1.0], False)]
)
def test_a_row_passes_up_to_its_limit(ours, passed):
    row = compare("file", "case", "quantity", torch.tensor(ours), torch.tensor([1.0, 2.0]), 0.5)
    assert row.passed is passed


def test_a_row_may_also_limit_the_mean():
    golden = torch.zeros(4)
    ours = torch.tensor([0.5, 0.0, 0.0, 0.0])
    assert compare("file", "case", "quantity", ours, golden, 0.5, 0.125).passed
    assert not compare("file", "case", "quantity", ours, golden, 0.5, 0.12).passed


def test_the_shipped_numbers_take_at_most_16_megabytes_and_are_all_read():
    shipped = {file.name for file in DATA.iterdir()}
    assert sum(file.stat().st_size for file in DATA.iterdir()) <= 16_000_000
    assert shipped - {"README.md"} - WEIGHTS == {name for area in AREAS for name in files_of(area)} - WEIGHTS


def test_every_shipped_file_is_described():
    text = (DATA / "README.md").read_text("utf-8")
    for file in DATA.glob("*.*s*"):
        assert f"`{file.name}`" in text
