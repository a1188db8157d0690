"""The commands that run tests and checks."""

import os
import re
import subprocess
import sys

import pytest

from scripts import ROOT, browser, check, test
from scripts.host_install import HostError


def run_tier_on(tmp_path, monkeypatch, source):
    """Run the tier `core` on one test file."""
    (tmp_path / "tests" / "core").mkdir(parents=True)
    (tmp_path / "tests" / "core" / "test_it.py").write_text(source)
    monkeypatch.setattr(test, "ROOT", tmp_path)
    return test.run_pytest("core", sys.executable, dict(test.os.environ), ["-p", "no:cacheprovider"])


def test_passes_failures_errors_and_skips_are_counted(tmp_path, monkeypatch):
    source = """
import pytest
@pytest.fixture
def broken(): raise ValueError
def test_good(): pass
def test_bad(): assert False
def test_error(broken): pass
@pytest.mark.skip
def test_skipped(): pass
"""
    outcome = run_tier_on(tmp_path, monkeypatch, source)
    assert (outcome.passed, outcome.failed, outcome.skipped, outcome.is_bad) == (1, 2, 1, True)


@pytest.mark.parametrize(
    "source", ["", "import pytest\n@pytest.mark.skip\ndef test_skipped(): pass\n", "this is no Python"]
)
def test_a_tier_in_which_nothing_ran_is_a_failure(tmp_path, monkeypatch, source):
    outcome = run_tier_on(tmp_path, monkeypatch, source)
    assert outcome.passed == 0
    assert outcome.is_bad


def test_a_tier_in_which_all_passed_is_good(tmp_path, monkeypatch):
    outcome = run_tier_on(tmp_path, monkeypatch, "def test_good(): pass\n")
    assert (outcome.passed, outcome.failed, outcome.is_bad) == (1, 0, False)


def test_a_tier_without_its_folder_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(test, "ROOT", tmp_path)
    outcome = test.run_pytest("server", sys.executable, {}, [])
    assert outcome.is_bad
    assert "there is no folder tests/server" in outcome.line()


def test_the_summary_of_the_javascript_runner_is_read():
    text = "ok 1 - a\n# tests 6\n# suites 0\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 0\n"
    assert test.read_tap(text) == (3, 2, 1)


@pytest.mark.parametrize("script", ["surface", "golden", "check", "test"])
def test_a_host_that_cannot_be_had_is_one_sentence_in_every_command(tmp_path, script):
    environment = os.environ | {"COMFYUI_PATH": str(tmp_path / "none"), "MAGREF_HOST_DIR": str(tmp_path)}
    command = [sys.executable, ROOT / "scripts" / f"{script}.py"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: COMFYUI_PATH is {tmp_path / 'none'}, but that holds no ComfyUI")
    assert "Traceback" not in ran.stderr


def test_an_unknown_tier_is_told():
    command = [sys.executable, ROOT / "scripts" / "test.py", "cores"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "there is no tier cores: use core, nodes, server, browser, js" in ran.stderr


@pytest.mark.parametrize(("ci", "is_bad"), [("", False), ("true", True), ("1", True)])
def test_without_a_browser_its_tests_are_skipped_loudly_and_fail_in_ci(monkeypatch, capsys, ci, is_bad):
    monkeypatch.setattr(browser, "find_or_install", lambda: None)
    monkeypatch.setenv("CI", ci)
    outcome = test.run_browser(sys.executable, [])
    assert outcome.is_bad is is_bad
    assert "browser tests NOT RUN" in capsys.readouterr().out
    assert "NOT RUN" in outcome.line()


def test_a_named_chromium_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setenv("CHROMIUM_PATH", sys.executable)
    with pytest.raises(HostError, match="but that does not start: name a Chromium or unset it"):
        browser.find()


def test_overlong_files_and_functions_are_found(tmp_path):
    file = tmp_path / "long.py"
    body = "".join(f"    x{number} = {number}\n" for number in range(60))
    file.write_text(f"def short():\n{body[: body.index('x59')].rstrip()}\n\n\ndef long():\n{body}")
    assert [line.split(" ", 1)[1] for line in check.overlong(file)] == ["long: 61 lines, at most 60 allowed"]
    file.write_text("# line\n" * 400)
    assert list(check.overlong(file)) == []
    file.write_text("# line\n" * 401)
    assert [line.split(": ", 1)[1] for line in check.overlong(file)] == ["401 lines, at most 400 allowed"]


def test_an_overlong_script_of_the_page_is_found_and_its_functions_are_not_measured(tmp_path):
    file = tmp_path / "long.js"
    file.write_text("function long() {\n" + "  line();\n" * 398 + "}\n")
    assert list(check.overlong(file)) == []
    file.write_text("// line\n" * 401)
    assert [line.split(": ", 1)[1] for line in check.overlong(file)] == ["401 lines, at most 400 allowed"]


def test_the_scripts_of_the_page_are_among_the_files_that_are_measured(monkeypatch):
    measured = set()
    monkeypatch.setattr(check, "overlong", lambda file: measured.add(file.relative_to(ROOT).as_posix()) or ())
    assert check.check_lengths()
    assert {"web/js/gallery.js", "web/js/editor/editor.js", "scripts/check.py"} <= measured


def test_the_page_of_benchmarks_lists_each_and_no_other():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py"))
    assert set(re.findall(r"\| `(\w+) ", page)) <= set(listed)
