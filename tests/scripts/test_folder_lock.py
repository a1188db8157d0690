import subprocess
import sys
import threading
import time

from scripts import ROOT
from scripts.folder_lock import folder_lock

HOLD = """
import sys, time
from pathlib import Path
from scripts.folder_lock import folder_lock
with folder_lock(Path(sys.argv[1]), on_wait=lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_in_another_process(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_nobody_holds_is_had_at_once(tmp_path):
    waits = []
    with folder_lock(tmp_path / "new", on_wait=lambda: waits.append(1)):
        pass
    with folder_lock(tmp_path / "new", on_wait=lambda: waits.append(1)):
        pass
    assert waits == []


def test_a_second_process_waits_and_is_told_so_once(tmp_path):
    holder, waits, had = hold_in_another_process(tmp_path), [], threading.Event()

    def wait_for_it():
        with folder_lock(tmp_path, on_wait=lambda: waits.append(1), poll=0.02):
            had.set()

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    assert not had.wait(0.3)
    holder.kill()
    assert had.wait(10)
    waiter.join()
    assert waits == [1]


def test_a_killed_holder_leaves_no_lock_behind(tmp_path):
    holder = hold_in_another_process(tmp_path)
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with folder_lock(tmp_path, on_wait=lambda: None, poll=0.02):
        assert time.monotonic() - started < 5
