"""Everything that is checked without running the code: format, lint, types, imports, lengths, spelling."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host
from scripts.host import Host
from scripts.host_install import HostError

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def overlong(file: Path) -> Iterator[str]:
    """What in a file is longer than it may be; functions are measured in Python alone."""
    text = file.read_text(encoding="utf-8")
    if (count := len(text.splitlines())) > MAX_FILE_LINES:
        yield f"{file}: {count} lines, at most {MAX_FILE_LINES} allowed"
    if file.suffix != ".py":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > MAX_FUNCTION_LINES:
                yield f"{file}:{node.lineno} {node.name}: {count} lines, at most {MAX_FUNCTION_LINES} allowed"


def check_lengths() -> bool:
    """Print what is too long; whether nothing is."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "web/js/*.js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    files = [ROOT / line for line in listed.stdout.splitlines()]
    files = files or sorted([*ROOT.rglob("*.py"), *(ROOT / "web" / "js").rglob("*.js")])
    found = [complaint for file in files if file.exists() for complaint in overlong(file)]
    print("\n".join(found) or f"{len(files)} files, nothing too long")
    return not found


def check_types(found: Host) -> bool:
    """Run pyright, told where ComfyUI is and which Python has its packages."""
    environment = {"PYTHONPATH": str(found.source)}
    return runs(found, "pyright", "--pythonpath", str(found.python), environment=environment)


def runs(found: Host, *command: str, environment: dict[str, str] | None = None) -> bool:
    """Whether a tool of the host's environment is content."""
    tools = found.python.parent
    full = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONPATH": str(ROOT)}
    command = (str(tools / command[0]), *command[1:])
    return subprocess.run(command, cwd=ROOT, env=full | (environment or {}), check=False).returncode == 0


def main() -> int:
    """Run every check, all of them even when one fails, and return the exit code."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = host.use_host_python()
    checks = {
        "ruff format": lambda: runs(found, "ruff", "format", "--check", "."),
        "ruff check": lambda: runs(found, "ruff", "check", "."),
        "pyright": lambda: check_types(found),
        "import-linter": lambda: runs(found, "lint-imports"),
        "lengths": check_lengths,
        "codespell": lambda: runs(found, "codespell"),
    }
    results: dict[str, bool] = {}
    for name, check in checks.items():
        print(f"\n=== {name}", flush=True)
        results[name] = check()
    print()
    for name, is_clean in results.items():
        print(f"{name:14} {'clean' if is_clean else 'FAILED'}")
    return int(not all(results.values()))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
