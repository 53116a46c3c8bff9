"""What a Slurm hook makes of slurmd's variables, and which accounts are a pool's."""

from __future__ import annotations

import pytest

from gridwarden.errors import ConfigurationError
from gridwarden.hooks.job import is_pool_account
from gridwarden.hooks.slurm import telling
from gridwarden.hooks.slurm.node import read_job

EVENT = {
    "SLURMD_NODENAME": "n1.example.org",
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_UID": "2101",
    "SLURM_JOB_USER": "cms001",
}


def test_a_job_of_an_older_slurm_has_no_stamp_and_no_start() -> None:
    job = read_job(EVENT, "site")
    assert (job.job, job.uid, job.account, job.node, job.cluster) == ("7", 2101, "cms001", "n1.example.org", "site")
    assert (job.stamp, job.batch_start, job.restart, job.exit_code) == ("", None, 0, "")


@pytest.mark.parametrize("extra", ["", "F" * 32, "f" * 31, "f" * 33, "\u0661" * 32])
def test_only_a_lease_id_is_a_stamp(extra: str) -> None:
    assert read_job(EVENT | {"SLURM_JOB_EXTRA": extra}, "site").stamp == ""
    assert read_job(EVENT | {"SLURM_JOB_EXTRA": "0f" * 16}, "site").stamp == "0f" * 16


@pytest.mark.parametrize("value", ["", "-1", "1.5", "\u0661", "1\n", "0x1"])
def test_a_number_that_slurm_would_not_write_is_not_guessed_at(value: str) -> None:
    with pytest.raises(ConfigurationError):
        read_job(EVENT | {"SLURM_JOB_ID": value}, "site")


def test_what_the_controller_says_of_a_job_is_what_slurm_says_and_nothing_is_made_up() -> None:
    given = {name: value for name, value in EVENT.items() if name != "SLURMD_NODENAME"}
    assert telling.job(given) == {"job": "7", "restart": "0", "account": "cms001", "uid": "2101"}
    more = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_EXTRA": "0f" * 16, "SLURM_JOB_EXIT_CODE2": "3:0"}
    told = telling.job(given | more | {"SLURM_JOB_RESTART_COUNT": "2"})
    assert (told["nodes"], told["stamp"], told["exit_code"], told["restart"]) == ("n[1-2]", "0f" * 16, "3:0", "2")
    assert "stamp" not in telling.job(given | {"SLURM_JOB_EXTRA": "my own note"})
    for name in ("SLURM_JOB_ID", "SLURM_JOB_USER", "SLURM_JOB_UID"):
        with pytest.raises(ConfigurationError, match=name):
            telling.job(given | {name: "../x"})


def test_a_task_says_its_numbers_and_nothing_else_of_its_environment() -> None:
    assert telling.task({"SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "TOKEN": "secret"}) == {"job": "7", "task": "3"}
    with pytest.raises(ConfigurationError, match="SLURM_STEP_ID"):
        telling.task({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "x\ny"})


def test_accounts_are_a_pools_by_prefix_and_digits_alone() -> None:
    site = {"pool": ["cms", "atlas"]}
    accounts = ("cms001", "atlas1", "cms", "cmsprod", "cms1x", "cms\u0661", "xcms1", "")
    assert [account for account in accounts if is_pool_account(account, site)] == ["cms001", "atlas1"]
