"""What is off must be off for everybody, and nobody but root can switch anything off."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from gridwarden import off
from gridwarden.errors import BadQuestion, ConfigurationError, Refused
from gridwarden.hooks import switching
from gridwarden.hooks.doctor import machine
from gridwarden.hooks.pilot import launch
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


ODD = ["owner", "mode", "link", "directory", "empty", "torn", "odd", "fifo", "folder"]


def make_odd(directory: Path, part: str, how: str) -> None:
    """Something in the place of a switch that cannot be relied on."""
    off.write(off.Switch(part, "ticket 4711", "eva", now(), 0))
    path = directory / part
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


@pytest.mark.parametrize("how", ODD)
def test_a_switch_that_others_could_have_made_or_that_is_not_whole_switches_nothing(directory: Path, how: str) -> None:
    make_odd(directory, off.HOOKS, how)
    assert off.switch(off.HOOKS) is None
    assert [row["state"] for row in switching.listed()] == ["ignored"]
    with pytest.raises(ConfigurationError):
        off.read(off.HOOKS)


@pytest.mark.parametrize("how", ODD)
def test_a_launcher_whose_switch_cannot_be_relied_on_is_off_and_says_why(directory: Path, how: str) -> None:
    make_odd(directory, off.LAUNCHER, how)
    with pytest.raises(Refused, match=f"launcher switched off by nobody known: {directory}"):
        launch.refuse_switched_off()
    (row,) = switching.listed()
    assert (row["state"], row["since"]) == ("off", None)
    (found,) = machine.switches()
    assert (found.kind, found.remedy) == ("switched-off", f"rm -rf {directory}/launcher")
    assert f"by nobody known: {directory}" in found.detail
    subprocess.run(found.remedy.split(), check=True)
    launch.refuse_switched_off()


def test_hooks_look_where_the_switch_is() -> None:
    assert node.OFF == "/etc/gridwarden/off/hooks"
    assert node.OFF.rpartition("/")[2] == off.HOOKS


@pytest.mark.parametrize("text", ["", "2", "0h", "-1h", "2 h", "1w", "9999999h", "2h30m"])
def test_a_length_of_time_with_no_single_reading_is_refused(text: str) -> None:
    with pytest.raises(BadQuestion):
        switching.seconds_of(text)
    assert switching.seconds_of("90m") == 5400
