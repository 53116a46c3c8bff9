from __future__ import annotations

import pytest

from gridwarden.batch.slurm_queue import unfinished


def test_pending_and_unknown_states_count_as_jobs() -> None:
    assert unfinished("1 PENDING\n2 RUNNING\n3 COMPLETED\n4_7 SPECIAL_EXIT\n5 NEW_IN_SLURM_99\n6 COMPLETING\n") == [
        "1", "2", "4_7", "5", "6",
    ]  # fmt: skip


def test_nothing_said_is_no_job() -> None:
    assert unfinished("") == []


@pytest.mark.parametrize("answer", ["1\n", "slurm_load_jobs error: x\n7\n", " RUNNING\n"])
def test_what_is_not_a_list_of_jobs_is_no_answer(answer: str) -> None:
    assert unfinished(answer) is None
