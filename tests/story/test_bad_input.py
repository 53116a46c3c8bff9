"""Bad input gets one line that names what is wrong, and nothing is mapped, submitted or lost."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from gridwarden import chain, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

SITE_FILE = Path("/etc/gridwarden/site.yaml")
REFUSED, NO_CONFIGURATION, NO_EVIDENCE, UNAVAILABLE = 77, 78, 74, 75


class Site:
    """A configuration and directories of its own, so that one test's damage is no other's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "site.yaml"
        self.gridmapdir = root / "gridmapdir"
        self.ledger = root / "state" / "ledger"
        self.holders = root / "run" / "holders"
        for directory in (self.gridmapdir, self.ledger, self.holders, root / "run" / "locks", root / "run" / "jobs"):
            directory.mkdir(parents=True)
        for number in (1, 2):
            (self.gridmapdir / f"cms{number:03}").touch(mode=0o644)
        self.settings = yaml.safe_load(SITE_FILE.read_text())
        self.settings["gridmapdir"] = str(self.gridmapdir)
        self.settings["directories"] = {"state": str(root / "state"), "runtime": str(root / "run")}
        self.write()

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.settings))

    def gridwarden(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["gridwarden", "--config", str(self.file), *map(str, words)]
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)

    def refuses(self, code: int, *phrases: str, words: tuple[str | Path, ...], stdin: bytes = b"") -> None:
        """Run a command that must fail with one line that holds all ``phrases``, and change nothing."""
        before, queued = self.state(), queue()
        done = self.gridwarden(*words, stdin=stdin)
        error = done.stderr.decode()
        assert done.returncode == code, error
        assert done.stdout == b""
        first, *hints = error.splitlines()
        assert first.startswith("gridwarden: ")
        assert len(hints) <= 1, error
        for phrase in phrases:
            assert phrase in first, error
        assert self.state() == before
        assert queue() <= queued

    def state(self) -> tuple[list[str], list[str], list[object]]:
        """The accounts and leases, the holders, the leases in the ledger."""
        kinds = [line.body["lease"] for line in chain.read(self.ledger) if line.body["kind"] == "lease"]
        names = sorted(
            f"{path.name} {path.lstat().st_nlink}" for path in self.gridmapdir.iterdir() if path.name[0] != "."
        )
        return names, sorted(os.listdir(self.holders)), kinds


def queue() -> set[str]:
    """The jobs in Slurm's queue, of which those of other stories may be ending."""
    return set(subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of its own, of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def test_broken_yaml_is_named_by_file_line_and_column(site: Site, people: SimpleNamespace) -> None:
    site.file.write_text("site: EXAMPLE\npools: [cms\npolicy: []\n")
    site.refuses(NO_CONFIGURATION, f"{site.file}:3:", words=("map", "--proxy", people.anna.proxy))


def test_an_unknown_key_is_named_with_its_line(site: Site, people: SimpleNamespace) -> None:
    site.file.write_text(site.file.read_text() + "grid_map_dir: /x\n")
    line = len(site.file.read_text().splitlines())
    site.refuses(NO_CONFIGURATION, f"{site.file}:{line}: grid_map_dir", words=("map", "--proxy", people.anna.proxy))


def test_an_identity_that_no_rule_matches_gets_no_account(site: Site, people: SimpleNamespace) -> None:
    site.settings["policy"] = [{"fqan": "/atlas", "pool": "atlas"}]
    site.write()
    words = ("map", "--proxy", people.anna.proxy)
    site.refuses(REFUSED, reasons.POLICY_NO_MATCH, people.anna.subject, words=words)


def test_a_certificate_authority_that_is_not_there_is_named(site: Site, people: SimpleNamespace) -> None:
    words = ("map", "--proxy", people.anna.proxy)
    with tempfile.TemporaryDirectory(dir="/srv") as name:  # where the unprivileged verifier may look
        certificates = Path(name)
        certificates.chmod(0o755)
        site.settings["credentials"]["certificates"] = str(certificates)
        site.write()
        site.refuses(NO_CONFIGURATION, str(certificates), words=words)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", certificates / "00000000.0")  # others, not the one needed
        site.refuses(REFUSED, reasons.CREDENTIAL_UNTRUSTED, "Example Grid CA", words=words)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", reasons.CREDENTIAL_EXPIRED),
        ("limited", reasons.CREDENTIAL_LIMITED),
        ("acexpired", reasons.VOMS_EXPIRED),
        ("forged", reasons.VOMS_FORGED),
    ],
)
def test_each_bad_proxy_is_refused_for_its_own_reason(
    site: Site, people: SimpleNamespace, kind: str, reason: str
) -> None:
    proxy = getattr(people.anna, kind)
    script = b"#!/bin/sh\ntrue\n"
    site.refuses(REFUSED, reason, str(proxy), words=("map", "--proxy", proxy))
    site.refuses(REFUSED, reason, str(proxy), words=("submit", "slurm", "--proxy", proxy), stdin=script)


def test_a_proxy_that_others_can_read_is_refused_and_its_mode_named(
    site: Site, people: SimpleNamespace, tmp_path: Path
) -> None:
    proxy = tmp_path / "proxy.pem"
    shutil.copy(people.anna.proxy, proxy)
    proxy.chmod(0o644)
    site.refuses(REFUSED, reasons.CREDENTIAL_EXPOSED, str(proxy), "0644", words=("map", "--proxy", proxy))


def test_a_full_pool_says_how_full(site: Site, people: SimpleNamespace) -> None:
    for number in (1, 2):
        os.link(site.gridmapdir / f"cms{number:03}", site.gridmapdir / f"%2fcn%3dsomebody{number}")
    site.refuses(REFUSED, reasons.POOL_FULL, "2", "cms", words=("map", "--proxy", people.anna.proxy))


def test_a_missing_gridmapdir_is_named(site: Site, people: SimpleNamespace) -> None:
    shutil.rmtree(site.gridmapdir)
    done = site.gridwarden("map", "--proxy", people.anna.proxy)
    assert done.returncode == NO_CONFIGURATION
    assert f"{site.gridmapdir}: no such file or directory" in done.stderr.decode()
    assert os.listdir(site.holders) == []


def test_a_gridmapdir_that_cannot_be_written_is_named(site: Site, people: SimpleNamespace) -> None:
    subprocess.run(["mount", "--bind", site.gridmapdir, site.gridmapdir], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", site.gridmapdir], check=True)
    try:
        words = ("map", "--proxy", people.anna.proxy)
        site.refuses(UNAVAILABLE, str(site.gridmapdir), "Read-only file system", words=words)
    finally:
        subprocess.run(["umount", site.gridmapdir], check=True)


def test_a_user_without_rights_is_told_so_and_changes_nothing(people: SimpleNamespace, tmp_path: Path) -> None:
    before = sorted(os.listdir("/etc/grid-security/gridmapdir"))
    alice = pwd.getpwnam("alice")
    proxy = Path(alice.pw_dir) / "proxy.pem"
    shutil.copy(people.anna.proxy, proxy)
    os.chown(proxy, alice.pw_uid, alice.pw_gid)
    try:
        done = subprocess.run(
            ["runuser", "-u", "alice", "--", "gridwarden", "map", "--proxy", proxy], capture_output=True, check=False
        )
    finally:
        proxy.unlink()
    assert done.returncode not in (0, 1, 2, 70)
    assert b"Traceback" not in done.stderr
    assert sorted(os.listdir("/etc/grid-security/gridmapdir")) == before


def test_a_pool_file_without_a_passwd_entry_is_never_lent(site: Site, people: SimpleNamespace) -> None:
    for path in site.gridmapdir.iterdir():
        path.rename(site.gridmapdir / path.name.replace("cms00", "cms99"))
    site.refuses(REFUSED, reasons.POOL_FULL, "cms991", words=("map", "--proxy", people.anna.proxy))


def test_a_ledger_on_a_full_disk_hands_nothing_out_and_goes_on_when_there_is_room(
    site: Site, people: SimpleNamespace, small_disk: Path
) -> None:
    (small_disk / "ledger").mkdir(mode=0o700)
    shutil.rmtree(site.ledger)
    site.ledger = small_disk / "ledger"
    site.settings["directories"]["state"] = str(small_disk)
    site.write()
    (small_disk / "lock").touch()
    filler = small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, check=False)
    done = site.gridwarden("map", "--proxy", people.anna.proxy)
    assert done.returncode == NO_EVIDENCE
    assert str(site.ledger).encode() in done.stderr
    assert b"disk is full" in done.stderr or b"No space left" in done.stderr
    assert done.stdout == b""
    assert os.listdir(site.holders) == []
    filler.unlink()
    done = site.gridwarden("map", "--proxy", people.anna.proxy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() in os.listdir(site.holders)
    assert chain.faults(site.ledger) == []


def test_a_script_of_a_hundred_megabytes_is_refused_before_it_is_read(site: Site, people: SimpleNamespace) -> None:
    words = ("submit", "slurm", "--proxy", people.anna.proxy)
    before, queued = site.state(), queue()
    with subprocess.Popen(
        ["gridwarden", "--config", str(site.file), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        sent = 0
        try:
            process.stdin.write(b"#!/bin/sh\n")
            while sent < 100 * 1024 * 1024:
                sent += process.stdin.write(b"#" * 1024 * 1024)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait(60) == REFUSED
        assert process.stdout.read() == b""
        assert reasons.SCRIPT_TOO_LARGE.encode() in process.stderr.read()
    assert sent < 10 * 1024 * 1024
    assert site.state()[0] == before[0]
    assert queue() <= queued


@pytest.mark.parametrize("script", [b"", b"\n\n"])
def test_an_empty_script_is_refused(site: Site, people: SimpleNamespace, script: bytes) -> None:
    words = ("submit", "slurm", "--proxy", people.anna.proxy)
    site.refuses(REFUSED, reasons.SCRIPT_EMPTY, words=words, stdin=script)
