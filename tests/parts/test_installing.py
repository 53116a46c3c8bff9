"""Installing hooks shows what it changes and spares what others wrote; uninstalling leaves a machine as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gridwarden.errors import ConfigurationError
from gridwarden.hooks import installing
from gridwarden.hooks.install import HookFile, plan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is installed is root's")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("slurm/prolog.d", "slurm/epilog.d", "bin", "sbin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "slurm/prolog.d/10-site").write_text("#!/bin/sh\n")
    (tmp_path / "bin/other").write_text("#!/bin/sh\n")
    return tmp_path


@pytest.fixture(scope="module")
def planned() -> list[HookFile]:
    """Of a machine that is not there: to compile the launcher takes seconds."""
    return plan(Path("/B/libexec"), Path("/B/slurm"), Path("/B/bin"), [Path("/B/sbin/glexec")])


@pytest.fixture
def files(base: Path, planned: list[HookFile]) -> list[HookFile]:
    found = [file._replace(path=base / file.path.relative_to("/B")) for file in planned]
    return found + installing.drop_ins(found, base / "slurm")


def tree(base: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in base.rglob("*")}


def install(files: list[HookFile], base: Path, *, dry_run: bool = False) -> list[str]:
    return list(installing.install(files, [base / "sbin/glexec"], dry_run=dry_run))


def test_what_is_installed_is_gone_after_uninstalling_and_nothing_else_is(base: Path, files: list[HookFile]) -> None:
    before = tree(base)
    install(files, base)
    assert all(file.path.read_bytes() == file.data for file in files)
    (base / "libexec/slurm-of-an-older-version").write_bytes(files[0].data)
    list(installing.uninstall(files, base / "libexec", dry_run=False))
    assert tree(base) == before


def test_what_others_wrote_among_ours_stays_and_is_named(base: Path, files: list[HookFile]) -> None:
    install(files, base)
    (base / "libexec/notes").write_text("mine")
    (base / "slurm/job_submit.lua").write_text("-- the site's own\n")
    (base / "bin/gridwarden-exec").unlink()
    (base / "bin/gridwarden-exec").symlink_to("other")
    said = list(installing.uninstall(files, base / "libexec", dry_run=False))
    assert f"left {base}/slurm/job_submit.lua: not written by gridwarden" in said
    assert f"left {base}/bin/gridwarden-exec: not written by gridwarden" in said
    assert [path.name for path in (base / "libexec").iterdir()] == ["notes"]
    assert (base / "bin/gridwarden-exec").is_symlink() and (base / "bin/other").exists()


def test_installing_again_writes_nothing_that_is_in_place(base: Path, files: list[HookFile]) -> None:
    install(files, base)
    kept = {file.path: file.path.stat().st_ino for file in files}
    files[0].path.chmod(0o700)
    files[1].path.write_text("#!/bin/sh\n# Written by `gridwarden hooks install`; edited\n")
    said = install(files, base)
    assert [line.split()[0] for line in said] == ["wrote", "wrote", *["unchanged"] * (len(files) - 2)]
    assert {path for path, inode in kept.items() if path.stat().st_ino != inode} == {files[0].path, files[1].path}
    assert files[0].path.stat().st_mode & 0o777 == 0o755


def test_a_dry_run_shows_each_line_that_would_change_and_changes_none(base: Path, files: list[HookFile]) -> None:
    before = tree(base)
    assert "+    sys.path.append(" in install(files, base, dry_run=True)[0]
    assert tree(base) == before
    install(files, base)
    files[0].path.write_bytes(files[0].data.replace(b"import os, sys\n", b"import os\n"))
    before = tree(base)
    (said,) = [text for text in install(files, base, dry_run=True) if text.startswith("would write")]
    assert "\n-import os\n+import os, sys\n" in said
    assert all(line.startswith("would remove") for line in installing.uninstall(files, base / "libexec", dry_run=True))
    assert tree(base) == before


@pytest.mark.parametrize("name", ["slurm/job_submit.lua", "bin/gridwarden-exec", "slurm/prolog.d/50-gridwarden"])
def test_a_sites_own_file_is_not_overwritten_nor_anything_else_written(
    base: Path, files: list[HookFile], name: str
) -> None:
    (base / name).write_text("-- the site's own\n")
    before = tree(base)
    with pytest.raises(ConfigurationError, match="not written by gridwarden"):
        install(files, base)
    assert tree(base) == before


def test_gl_exec_of_old_is_replaced_where_it_was_asked_for(base: Path, files: list[HookFile]) -> None:
    (base / "sbin/glexec").write_bytes(b"\x7fELF")
    install(files, base)
    assert (base / "sbin/glexec").read_bytes().startswith(b"#!")


def test_a_site_without_drop_ins_is_told_to_make_their_place(base: Path, files: list[HookFile]) -> None:
    with pytest.raises(ConfigurationError, match=r"prolog\.d: is not there"):
        installing.drop_ins(files, base / "sbin")
    text = installing.fragment(base / "libexec", base / "slurm", 200)
    assert f"Prolog={base}/slurm/prolog.d/*\nEpilog={base}/slurm/epilog.d/*\n" in text
    assert "PrologEpilogTimeout=220\nBatchStartTimeout=220\n" in text, "Slurm waits longer than a hook takes"
