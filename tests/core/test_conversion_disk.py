"""Conversions that the disk or the system stops: one sentence, and nothing half is left."""

from __future__ import annotations

import errno
import os

import pytest
from safetensors.torch import load_file, save_file

from magref_core.conversion import convert as conversion
from magref_core.conversion import journal
from magref_core.conversion.convert import Watch, convert, draft_of
from magref_core.conversion.journal import Draft
from magref_core.errors import MagrefError
from tests.disks import closed, files_of_at_most

from .conversions import Stopped, names_in, random_weights, stopping_after

FULL = (
    r"^new\.safetensors could not be written \(No space left on device\); nothing is left of it: free some "
    r"space or choose another folder$"
)


@pytest.fixture
def source(tmp_path):
    save_file(random_weights(), tmp_path / "magref.safetensors")
    return tmp_path / "magref.safetensors"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "new.safetensors"


def no_space():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk:
    """A stream that takes so many bytes, the last of them in part, and then refuses as a full disk does."""

    def __init__(self, stream, room):
        self.stream, self.room = stream, room

    def write(self, view):
        if not self.room:
            raise no_space()
        count = self.stream.write(view[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.fixture
def disk_of_300_kb(monkeypatch):
    enter = Draft.__enter__

    def entered(draft):
        enter(draft)
        draft._stream = FullDisk(draft._stream, 300_000)
        return draft

    monkeypatch.setattr(Draft, "__enter__", entered)


def test_a_disk_without_room_is_refused_before_anything_is_written(source, target, monkeypatch):
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: type("U", (), {"free": 2**20})())
    with pytest.raises(
        MagrefError, match=r"needs 0.0 GB, but the disk of .* has 0.0 GB free: free some space"
    ):
        convert(source, target, "fp8")
    assert not target.parent.exists()


def test_a_disk_that_is_full_after_some_tensors_leaves_no_half_file(source, target, disk_of_300_kb):
    sizes = []

    def look(done, total):
        sizes.append(draft_of(target).stat().st_size)

    with pytest.raises(MagrefError, match=FULL):
        convert(source, target, "fp8", watch=Watch(on_progress=look))
    assert len(sizes) > 10 and sizes[-1] > 300_000
    assert not target.parent.exists()


def test_a_disk_that_cannot_keep_what_it_took_leaves_no_half_file(source, target, monkeypatch):
    monkeypatch.setattr(journal, "COMMIT_BYTES", 50_000)
    fsync, calls = os.fsync, []

    def keep(number):
        calls.append(number)
        if len(calls) > 6:
            raise no_space()
        fsync(number)

    monkeypatch.setattr(os, "fsync", keep)
    noted = []

    def look(done, total):
        noted.append(len(target.with_name(".new.safetensors.part.jsonl").read_text().splitlines()))

    with pytest.raises(MagrefError, match=FULL):
        convert(source, target, "fp8", watch=Watch(on_progress=look))
    assert noted[-1] > 3
    assert not target.parent.exists()


def test_a_file_that_may_not_grow_to_its_size_leaves_nothing(source, target):
    with (
        files_of_at_most(400_000),
        pytest.raises(MagrefError, match=r"could not be written .* nothing is left .* free some space"),
    ):
        convert(source, target, "fp8")
    assert not target.parent.exists()


def test_notes_that_cannot_be_written_anew_leave_nothing(source, target):
    with pytest.raises(Stopped):
        convert(source, target, "fp8", watch=Watch(check=stopping_after(90)))
    assert len(names_in(target.parent)) == 2
    with (
        files_of_at_most(1000),
        pytest.raises(MagrefError, match=r"could not be written .* nothing is left"),
    ):
        convert(source, target, "fp8")
    assert names_in(target.parent) == []


def test_only_folders_that_were_made_and_are_empty_are_taken_back(source, tmp_path, disk_of_300_kb):
    (tmp_path / "old").mkdir()
    new = tmp_path / "old" / "made" / "made too"
    with pytest.raises(MagrefError, match=FULL):
        convert(source, new / "new.safetensors", "fp8")
    assert names_in(tmp_path / "old") == []

    def put_something(done, total):
        (new.parent / "mine.txt").write_text("x")

    with pytest.raises(MagrefError, match=FULL):
        convert(source, new / "new.safetensors", "fp8", watch=Watch(on_progress=put_something))
    assert names_in(new.parent) == ["mine.txt"]


@pytest.mark.skipif(os.name == "nt", reason="the system has another word for it there")
@pytest.mark.parametrize("length", [300, 250])
@pytest.mark.parametrize("folder", [".", "out"])
def test_a_name_that_is_too_long_is_told_and_leaves_nothing(source, tmp_path, folder, length):
    long = (
        tmp_path / folder / ("x" * (length - 12) + ".safetensors")
    )  # of 250, only the notes' name is too long
    with pytest.raises(
        MagrefError, match=r"^x+\.safetensors could not be written \(File name too long\).*: choose a shorter"
    ):
        convert(source, long, "fp8")
    assert names_in(source.parent) == ["magref.safetensors"]


def test_a_folder_that_may_not_be_searched_is_told_and_left_empty(source, tmp_path):
    with (
        closed(tmp_path / "closed") as folder,
        pytest.raises(
            MagrefError,
            match=r"^new.safetensors could not be written \(Permission denied\)(; nothing is left of it)?: "
            "choose a folder that may be written to$",
        ),
    ):
        convert(source, folder / "new.safetensors", "fp8", overwrite=True)
    assert names_in(tmp_path / "closed") == []


def test_a_path_that_cannot_be_written_is_told(source, tmp_path):
    (tmp_path / "a file").write_text("x")
    with pytest.raises(MagrefError, match=r"new.safetensors could not be written .* choose another folder"):
        convert(source, tmp_path / "a file" / "new.safetensors", "fp8")


def test_a_report_is_written_whole_or_not_at_all(source, target, tmp_path):
    report = convert(source, target, "fp8")
    file = tmp_path / "reports" / "one.json"
    report.save(file)
    before = file.read_text()
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        report.save(file)
    assert file.read_text() == before
    assert names_in(file.parent) == ["one.json"]
    assert len(load_file(target)) > 0
