"""What is off must be off for everybody, and nobody but root can switch anything off."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gridwarden import off
from gridwarden.errors import BadQuestion, ConfigurationError
from gridwarden.hooks import switching
from gridwarden.hooks.slurm import node

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others: needs root")

HOUR = 3600 * off.MICROSECONDS


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(off, "DIRECTORY", str(tmp_path / "off"))
    (tmp_path / "off").mkdir()
    return tmp_path / "off"


def now() -> int:
    return time.time_ns() // 1000


def written(until: int = 0) -> off.Switch:
    found = off.Switch(off.HOOKS, "ticket 4711\nand more", "eva", now(), until)
    off.write(found)
    return found


def test_a_part_is_off_while_its_switch_is_there() -> None:
    assert off.switch(off.HOOKS) is None
    found = written()
    assert off.switch(off.HOOKS) == found
    assert off.switch(off.PRUNE) is None
    off.remove(off.HOOKS)
    assert off.switch(off.HOOKS) is None


def test_a_part_is_on_again_when_its_time_is_over_and_the_list_says_so() -> None:
    written(until=now() + HOUR)
    assert off.switch(off.HOOKS)
    assert [row["state"] for row in switching.listed()] == ["off"]
    written(until=now() - 1)
    assert off.switch(off.HOOKS) is None
    assert [row["state"] for row in switching.listed()] == ["over"]


@pytest.mark.parametrize("how", ["owner", "mode", "link", "directory", "empty", "torn", "odd", "fifo", "folder"])
def test_a_switch_that_others_could_have_made_or_that_is_not_whole_switches_nothing(directory: Path, how: str) -> None:
    written()
    path = directory / off.HOOKS
    match how:
        case "owner":
            os.chown(path, 65000, 65000)
        case "mode":
            path.chmod(0o666)
        case "link":
            path.rename(directory / "other")
            path.symlink_to("other")
        case "directory":
            directory.chmod(0o777)
        case "fifo" | "folder":
            path.unlink()
            os.mkfifo(path) if how == "fifo" else path.mkdir()
        case _:
            text = {"empty": b"", "torn": path.read_bytes()[:-5], "odd": b"version\t1\nuntil\tnever\n"}[how]
            path.write_bytes(text)
    assert off.switch(off.HOOKS) is None
    assert [row["state"] for row in switching.listed()] == ["ignored"]
    with pytest.raises(ConfigurationError):
        off.read(off.HOOKS)


def test_hooks_look_where_the_switch_is() -> None:
    assert node.OFF == "/etc/gridwarden/off/hooks"
    assert node.OFF.rpartition("/")[2] == off.HOOKS


@pytest.mark.parametrize("text", ["", "2", "0h", "-1h", "2 h", "1w", "9999999h", "2h30m"])
def test_a_length_of_time_with_no_single_reading_is_refused(text: str) -> None:
    with pytest.raises(BadQuestion):
        switching.seconds_of(text)
    assert switching.seconds_of("90m") == 5400
