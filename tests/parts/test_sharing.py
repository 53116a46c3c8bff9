"""Who else can write in a gridmapdir, judged by real mounts where they can be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gridwarden.mapper import sharing
from gridwarden.mapper.sharing import Export, Mount

NFS = Mount("nfs4", frozenset(["rw", "vers=4.2"]))
LOCAL = Mount("ext4", frozenset(["rw"]))
OPEN = frozenset(["rw", "sync", "no_root_squash"])


def kinds(mount=LOCAL, exported=(), *, writable=True):
    return [risk.kind for risk in sharing.risks("/grid/map", mount, list(exported), writable=writable)]


def test_a_local_directory_risks_nothing():
    assert kinds() == []


def test_a_node_that_could_rewrite_every_lease_is_found():
    assert kinds(NFS) == ["writable-here"]
    assert kinds(Mount("fuse.sshfs", frozenset(["rw"]))) == ["writable-here"]


def test_a_squashed_root_that_could_lend_nothing_is_found():
    assert kinds(NFS, writable=False) == ["squashed-here"]


def test_a_read_only_mount_is_the_safe_alternative():
    assert kinds(Mount("nfs4", frozenset(["ro", "rw"])), writable=False) == []


@pytest.mark.parametrize("path", ["/grid/map", "/grid", "/"])
def test_an_export_that_lets_roots_of_other_machines_write_is_found(path):
    assert kinds(exported=[Export(path, "10.0.0.0/8", OPEN)]) == ["exported-writable"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/grid/map", {"ro", "no_root_squash"}),
        ("/grid/map", {"rw", "root_squash"}),
        ("/grid/ma", OPEN),
        ("/grid/mapper", OPEN),
        ("/home", OPEN),
    ],
)
def test_an_export_that_cannot_harm_is_not_complained_of(path, options):
    assert kinds(exported=[Export(path, "*", frozenset(options))]) == []


def test_the_servers_own_table_is_read(tmp_path):
    etab = tmp_path / "etab"
    etab.write_text(
        "/srv/grid\\040map\t10.0.0.0/8(rw,sync,wdelay,no_root_squash,sec=sys)\n/home\t*(ro,root_squash)\nodd\n"
    )
    assert [(export.path, export.client) for export in sharing.exports(os.fspath(etab))] == [
        ("/srv/grid map", "10.0.0.0/8"),
        ("/home", "*"),
    ]
    assert "no_root_squash" in sharing.exports(os.fspath(etab))[0].options
    assert sharing.exports(os.fspath(tmp_path / "none")) == []


def test_the_kernel_says_what_a_directory_is_on(tmp_path):
    assert sharing.mount_of(Path("/proc")).kind == "proc"
    assert {"ro", "rw"} & sharing.mount_of(tmp_path).options


def test_a_directory_that_others_can_write_is_found(tmp_path):
    directory = tmp_path / "gridmapdir"
    directory.mkdir()
    directory.chmod(0o755)
    assert "written-by-others" not in [risk.kind for risk in sharing.find(directory)]
    directory.chmod(0o777)
    assert "written-by-others" in [risk.kind for risk in sharing.find(directory)]
