import errno
import importlib
import os

import pytest
import torch
from safetensors.torch import load_file

from magref_core.training.files import TrainingError, save_tensors, save_text, write_whole
from tests.disks import files_of_at_most

CUT_OFF = b"the first ha"


def names_in(folder):
    return sorted(file.name for file in folder.iterdir())


def failing_with(error):
    """A writer that gives up half-way."""

    def write(path):
        path.write_bytes(CUT_OFF)
        raise error

    return write


def test_a_file_is_written_whole_and_its_folder_made(tmp_path):
    file = tmp_path / "new" / "folder" / "a.txt"
    save_text(file, "\N{GREEK SMALL LETTER SIGMA}\n")
    assert file.read_bytes() == b"\xcf\x83\n"
    assert names_in(file.parent) == ["a.txt"]


def test_tensors_come_back_with_their_metadata(tmp_path):
    file = tmp_path / "a.safetensors"
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(1, dtype=torch.int16)}
    save_tensors(file, tensors, {"kind": "test"})
    for name, value in load_file(file).items():
        assert torch.equal(value, tensors[name])
        assert value.dtype == tensors[name].dtype
    opened = importlib.import_module("safetensors").safe_open(file, framework="pt")
    with opened as found:
        assert found.metadata() == {"format": "pt", "kind": "test"}


def test_the_old_file_survives_a_full_disk(tmp_path):
    file = tmp_path / "a.txt"
    save_text(file, "old")
    with pytest.raises(
        TrainingError,
        match=r"^a\.txt could not be written \(.*No space left.*\); an earlier version is untouched: free",
    ):
        write_whole(file, failing_with(OSError(errno.ENOSPC, "No space left on device")))
    assert file.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_the_old_tensors_survive_a_disk_that_is_really_full(tmp_path):
    file = tmp_path / "a.safetensors"
    save_tensors(file, {"a": torch.ones(2)}, {})
    message = r"a\.safetensors could not be written .* untouched: free some space"
    with files_of_at_most(4096), pytest.raises(TrainingError, match=message):
        save_tensors(file, {"a": torch.zeros(10_000)}, {})
    assert torch.equal(load_file(file)["a"], torch.ones(2))
    assert names_in(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_the_old_file_survives_an_interrupt_in_the_middle_of_a_save(tmp_path, interrupt):
    file = tmp_path / "a.txt"
    save_text(file, "old")
    with pytest.raises(interrupt):
        write_whole(file, failing_with(interrupt()))
    assert file.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_first_save_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(TrainingError):
        write_whole(tmp_path / "a.txt", failing_with(OSError(errno.EIO, "Input/output error")))
    assert not names_in(tmp_path)


def test_a_folder_that_is_a_file_is_told_in_a_sentence(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(
        TrainingError, match=r"^a\.txt could not be written .*: free some space or choose another"
    ):
        save_text(tmp_path / "run" / "a.txt", "text")


def test_files_can_be_read_by_whoever_the_user_lets(tmp_path):
    before = os.umask(0o022)
    try:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {})
        save_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"a.safetensors": 0o644, "a.txt": 0o644}


def test_what_a_killed_process_left_over_is_written_over(tmp_path):
    (tmp_path / ".a.txt.part").write_text("half")
    save_text(tmp_path / "a.txt", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"
