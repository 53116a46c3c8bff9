"""Where SlurmdSpoolDir of slurm.conf leads on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gridwarden.batch import slurm_spool

HOST = os.uname().nodename.partition(".")[0]


@pytest.mark.parametrize(
    ("spool", "made", "node"),
    [
        ("slurmd", "slurmd", ""),
        ("slurmd/%n", "slurmd/n1", "n1"),
        ("slurmd.%n.spool/state", "slurmd.n1.spool/state", "n1"),
        ("%h", HOST, ""),
        ("%h/%n", f"{HOST}/n1", "n1"),
        ("%n/%h", f"n1/{HOST}", "n1"),
    ],
)
def test_the_spool_of_each_slurmd_is_found_as_slurm_names_it(tmp_path: Path, spool: str, made: str, node: str) -> None:
    (tmp_path / made).mkdir(parents=True)
    found = slurm_spool.directories(f"{tmp_path}/{spool}")
    assert found == {node: str(tmp_path / made)}
    assert slurm_spool.of_node(f"{tmp_path}/{spool}", "n1") == str(tmp_path / made)
