"""Which options of sbatch a caller may use."""

from __future__ import annotations

import pytest

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.hooks.slurm.submit import LONGEST_VALUE, OPTIONS, check_options

FINE = {
    "job-name": "Anna's job (2)",
    "time": "1-12:00:00",
    "time-min": "10",
    "partition": "grid,long",
    "qos": "normal",
    "account": "cms_prod",
    "nodes": "1-2",
    "ntasks": "8",
    "ntasks-per-node": "4",
    "cpus-per-task": "2",
    "mem": "2G",
    "mem-per-cpu": "2000M",
    "tmp": "10G",
    "gres": "gpu:a100:1,scratch:10",
    "constraint": "[rack1*2&rack2*4]|avx",
    "nodelist": "n[1-3],m7",
    "exclude": "n9",
    "array": "1-10:2%4",
    "dependency": "afterok:12:13",
    "signal": "B:USR1@60",
    "output": "/home/cms001/out.%j",
    "error": "err",
}


def test_every_allowed_option_takes_what_sites_use() -> None:
    assert set(FINE) == {option.name for option in OPTIONS}
    assert check_options(FINE) == [f"--{name}={value}" for name, value in FINE.items()]


@pytest.mark.parametrize(
    "name", ["uid", "gid", "wrap", "export", "chdir", "get-user-env", "extra", "job_name", "job-nam", "J"]
)
def test_no_other_option_reaches_sbatch(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_options({name: "1"})
    assert refusal.value.reason == reasons.OPTION_NOT_ALLOWED


@pytest.mark.parametrize("name", sorted(FINE))
@pytest.mark.parametrize(
    "value", ["", "-x", "--uid=0", "a\nb", "1\0", "1\x1b[2J", "\u0661", "1" * (LONGEST_VALUE + 1), " 1"]
)
def test_no_value_is_an_option_a_control_byte_or_endless(name: str, value: str) -> None:
    with pytest.raises(Refused):
        check_options({name: value})
