"""The released model in its full size, as files with holes: how much memory converting it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from magref_core.conversion.plan import SHORTENED
from magref_core.conversion.source import open_source
from tests.sparse_models import save_sparse_shards

ROOT = Path(__file__).parents[2]
LIMIT = 3e9
"""Bytes of memory that a conversion may take at its peak."""
ENOUGH = 2.58e9
"""Bytes of the source after which each kind of matrix had its turn: what precedes the blocks, and a block."""
NAMES = ("bf16", "fp8", "int8", "nvfp4")
"""Without fp8_scaled, which is fp8 with other names of its parts."""

PROGRAM = """
import resource, sys
from pathlib import Path
from magref_core.conversion.convert import Watch, convert

def stop(done, total):
    assert total > 65e9
    if done > {enough}:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
        sys.exit(0)

convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], watch=Watch(on_progress=stop))
"""


def shortened_in(source, num_bytes):
    """How many kinds of matrices that are shortened lie in the first bytes of a source."""
    kinds, done = set(), 0
    for name, stored in source.tensors.items():
        done += stored.num_bytes
        if done <= num_bytes and SHORTENED.fullmatch(name):
            kinds.add(name.split(".", 2)[2])
    return len(kinds)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no holes there, and no peak can be asked for")
@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_matrix_of_the_65_gb_in_shards_is_converted_within_3_gb_of_memory(tmp_path, name):
    index = save_sparse_shards(tmp_path)
    source = open_source(index)
    assert sum(stored.num_bytes for stored in source.tensors.values()) > 65e9
    assert len(source.tensors) == 1303
    assert shortened_in(source, ENOUGH) == 12
    command = [sys.executable, "-c", PROGRAM.format(enough=ENOUGH), index, tmp_path / "new.safetensors", name]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    peak = int(ran.stdout) * unit
    assert peak <= LIMIT
    assert not (tmp_path / "new.safetensors").exists()
