"""What ``config install`` leaves on a machine, and whom it lets read it."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest

from gridwarden import node_file
from gridwarden.errors import ConfigurationError
from gridwarden.install import file_system, install
from gridwarden.settings import Settings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to a group: needs root")


def settings(base: Path, **more: object) -> Settings:
    return Settings.of(
        {
            "site": "EXAMPLE",
            "pools": ["cms", "atlas"],
            "policy": [{"fqan": "/cms*", "pool": "cms"}],
            "gridmapdir": str(base),
            "directories": {"state": str(base / "state"), "runtime": str(base / "run" / "gridwarden")},
            "bans": [str(base / "bans")],
            "ban_lists": [str(base / "ban-list")],
            "holders_group": "daemon",
            "slurm": {"cluster": "site", "spool": "/var/spool/slurmd/%n"},
            **more,
        }
    )


def access(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def test_holders_are_read_by_the_batch_system_and_the_rest_by_root_alone(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)

    run = tmp_path / "run" / "gridwarden"
    assert access(run / "holders") == (0o750, 0, grp.getgrnam("daemon").gr_gid)
    assert access(run / "jobs") == (0o700, 0, 0)
    assert access(run / "locks") == (0o700, 0, 0)
    assert access(tmp_path / "state" / "ledger") == (0o700, 0, 0)
    assert access(tmp_path / "node") == (0o644, 0, 0)


def test_hooks_find_in_the_node_file_what_site_yaml_says(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)

    node = node_file.read(tmp_path / "node")
    assert node["pool"] == ["cms", "atlas"]
    assert node["holders"] == [f"{tmp_path}/run/gridwarden/holders"]
    assert node["scratch"] == ["/tmp", "/var/tmp", "/dev/shm"]
    assert node["slurm_spool"] == ["/var/spool/slurmd/%n"]
    assert node["prolog_on_failure"] == ["record-gap"]


def test_installing_again_restores_what_was_loosened_and_keeps_what_is_there(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)
    ledger = tmp_path / "state" / "ledger"
    (ledger / "current.jsonl").write_text("evidence\n")
    ledger.chmod(0o755)

    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)

    assert access(ledger) == (0o700, 0, 0)
    assert (ledger / "current.jsonl").read_text() == "evidence\n"


def test_the_runtime_directories_come_back_after_a_restart(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)

    run = tmp_path / "run" / "gridwarden"
    assert (tmp_path / "tmpfiles.conf").read_text().splitlines()[1:] == [
        f'd "{run}/holders" 0750 root daemon -',
        f'd "{run}/jobs" 0700 root root -',
        f'd "{run}/locks" 0700 root root -',
        f'd "{run}/payloads" 0700 root root -',
    ]


def test_a_new_site_bans_nobody_and_an_old_one_keeps_its_bans(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)
    assert [line[:1] for line in (tmp_path / "bans").read_text().splitlines()] == ["#"]

    assert [line[:1] for line in (tmp_path / "ban-list").read_text().splitlines()] == ["#"]
    (tmp_path / "bans").write_text('"/CN=Eve"\n')
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)
    assert (tmp_path / "bans").read_text() == '"/CN=Eve"\n'


def test_a_machine_without_systemd_is_installed_all_the_same(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.d" / "gridwarden.conf", dry_run=False)

    assert not (tmp_path / "tmpfiles.d").exists()
    assert (tmp_path / "node").exists()


def test_a_directory_that_others_use_too_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o1777)

    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)

    assert access(tmp_path / "state") == (0o1777, 0, 0)


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    said = install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=True)

    assert f"would write {tmp_path}/node" in said
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_someone_else_put_there_as_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").symlink_to("elsewhere")

    with pytest.raises(ConfigurationError, match="state"):
        install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_place_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)

    with pytest.raises(ConfigurationError, match="can be written by others"):
        install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)


def test_a_group_that_does_not_exist_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'nobodys'"):
        install(
            settings(tmp_path, holders_group="nobodys"), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False
        )
    assert list(tmp_path.iterdir()) == []


def test_a_local_gridmapdir_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    install(settings(tmp_path), tmp_path / "node", tmp_path / "tmpfiles.conf", dry_run=False)
    assert node_file.read(tmp_path / "node")["gridmapdir_local"] == ["yes"]

    said = install(
        settings(tmp_path, gridmapdir="/nowhere/gridmapdir"),
        tmp_path / "node",
        tmp_path / "tmpfiles.conf",
        dry_run=False,
    )
    assert node_file.read(tmp_path / "node")["gridmapdir_local"] == ["no"]
    assert any("/nowhere/gridmapdir is not here" in sentence for sentence in said)


def test_the_kernel_names_the_file_system() -> None:
    assert file_system(Path("/proc")) == "proc"
    assert file_system(Path("/dev/shm")) == "tmpfs"
