"""Slurm's short form for node names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.accounting.hostlist import expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-2]", ["n1", "n2"]),
        ("wn[08-10,042],login", ["wn08", "wn09", "wn10", "wn042", "login"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("", []),
        ("None assigned", ["None assigned"]),
        ("n[2-1]", ["n[2-1]"]),
    ],
)
def test_a_job_is_found_on_each_of_its_nodes(text, names):
    assert expand(text) == names


@given(st.text("n[]-,0123456789"))
def test_no_list_takes_for_ever(text):
    assert len(expand(text)) <= 100_000 * (text.count(",") + 1)
