"""What a report says of the machine, and how busy and how full it is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


def describe(device: str) -> dict[str, str | int]:
    """Processor, cores, versions; neither names nor paths of the machine."""
    facts: dict[str, str | int] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda or ""}
    return facts


def commit(folder: Path) -> str:
    """The commit that is checked out in a folder, marked where files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One timed call."""

    seconds: float
    own_cpu_seconds: float
    """Of all threads of this process together."""
    foreign_cores: float
    """Processor cores that other programs kept busy meanwhile."""


def time_call(call: Callable[[], object], device: str) -> Timing:
    """Run `call` once, to the end of its work on the device."""
    synchronize(device)
    busy, own, start = _busy_seconds(), _own_seconds(), time.perf_counter()
    call()
    synchronize(device)
    seconds = time.perf_counter() - start
    own = _own_seconds() - own
    foreign = _busy_seconds() - busy - own
    return Timing(seconds=seconds, own_cpu_seconds=own, foreign_cores=max(0.0, foreign / seconds))


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _own_seconds() -> float:
    return time.process_time()  # psutil's is in steps of 10 ms


def copied_bytes_per_second(device: str) -> float:
    """The best rate at which memory is read and written again, bytes of both counted."""
    num_bytes = 2**31 if device == "cuda" else 2**28  # more than any cache holds
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(seconds_of(time_call(lambda: target.copy_(source), device), device) for _ in range(10))
    return 2 * num_bytes / best


def seconds_of(timing: Timing, device: str) -> float:
    """What counts on one thread: a CPU's own time, which other programs hardly change; else time."""
    return timing.own_cpu_seconds if device == "cpu" else timing.seconds


def peak_bytes(call: Callable[[], object], device: str) -> int | None:
    """Memory that `call` needs at its peak beyond what is in use before it; None where none can tell."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():  # only Linux forgets an earlier peak
        return None
    reset.write_text("5")
    before = psutil.Process().memory_info().rss
    call()
    return _peak_resident_bytes() - before


def _peak_resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak of the memory in use")
