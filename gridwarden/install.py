"""What ``gridwarden config install`` makes of the settings on one machine.

The node file, gridwarden's directories, what makes those in the runtime directory again after a restart, and
the first ban file and ban list: a missing one denies everybody.
"""

from __future__ import annotations

import grp
import os
from typing import TYPE_CHECKING

from gridwarden import node_file, trusted
from gridwarden.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from gridwarden.settings import Settings

LOCAL_FILE_SYSTEMS = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs")
)
"""Those whose lstat no other machine can delay.  One that is not named here counts as remote."""

BAN_FILE = b"# A subject or FQAN pattern a line; gridwarden ban add writes here.\n"
BAN_LIST = b"# A ban a line, key=value with tabs between; gridwarden ban add writes here.\n"


def install(settings: Settings, node_path: Path, tmpfiles_path: Path, *, dry_run: bool) -> list[str]:
    """Make the directories and write the files; return a sentence for each thing done, or that would be.

    ``tmpfiles_path`` is left alone on a machine without systemd, which has no directory for it.
    Raises ConfigurationError when a directory, or one above it, is not ours alone to change.
    """
    wanted = directories(settings, settings.holders_gid())
    kind = file_system(settings.gridmapdir)
    files = [*((path, BAN_FILE) for path in settings.bans[:1]), *((path, BAN_LIST) for path in settings.ban_lists[:1])]
    files = [(path, data) for path, data in files if not os.path.lexists(path)]
    if tmpfiles_path.parent.is_dir():
        files.append((tmpfiles_path, tmpfiles(wanted, settings.directories.runtime)))
    if not dry_run:
        for path, mode, group in wanted:
            make_directory(path, mode, group)
        for path, data in files:
            trusted.replace_file(path, data, 0o644)
        node_file.write(node_path, node_pairs(settings, gridmapdir_local=kind in LOCAL_FILE_SYSTEMS))
    made, wrote = ("would make", "would write") if dry_run else ("made", "wrote")
    return [
        *(f"{made} {path} (mode {mode:04o}, group {grp.getgrgid(group).gr_name})" for path, mode, group in wanted),
        *(f"{wrote} {path}" for path, _ in files),
        f"{wrote} {node_path}",
        *remarks(settings, kind),
        *settings.prune.remarks(),
    ]


def directories(settings: Settings, group: int) -> list[tuple[Path, int, int]]:
    """Return the directories that gridwarden needs: (path, mode, gid); those above are made 0755."""
    return [
        (settings.ledger_directory, 0o700, 0),
        (settings.holds_directory, 0o700, 0),
        (settings.holders_directory, 0o750, group),
        (settings.register_directory, 0o700, 0),
        (settings.locks_directory, 0o700, 0),
        (settings.payloads_directory, 0o700, 0),
        *([(settings.globus_directory, 0o700, 0)] if settings.globus.sets else []),
    ]


def make_directory(path: Path, mode: int, group: int) -> None:
    """Make one directory, and those above it, or give an existing one its owner, group and mode."""
    if not os.path.lexists(path.parent):
        make_directory(path.parent, 0o755, 0)
    parent = trusted.open_directory(path.parent)
    try:
        try:
            os.mkdir(path.name, 0o700, dir_fd=parent)
        except FileExistsError:
            pass
        try:
            directory = os.open(path.name, trusted.OPEN_FLAGS | os.O_DIRECTORY, dir_fd=parent)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be used as a directory: {str(error.strerror).lower()}") from error
        try:
            os.fchown(directory, 0, group)
            os.fchmod(directory, mode)
            os.fsync(parent)
        finally:
            os.close(directory)
    finally:
        os.close(parent)


def tmpfiles(wanted: list[tuple[Path, int, int]], runtime: Path) -> bytes:
    """Return the tmpfiles.d(5) lines that make ``runtime`` and what is in it when the machine starts."""
    lines = ["# Written by gridwarden config install."]
    for path, mode, group in wanted:
        if path.is_relative_to(runtime):
            name = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'd "{name}" {mode:04o} root {grp.getgrgid(group).gr_name} -')
    return "".join(f"{line}\n" for line in lines).encode()


def node_pairs(settings: Settings, *, gridmapdir_local: bool) -> list[tuple[str, str]]:
    """Return what the node file says, in its order."""
    return [
        ("site", settings.site),
        ("cluster", settings.slurm.cluster),
        *(("pool", pool) for pool in settings.pools),
        ("holders", str(settings.holders_directory)),
        ("register", str(settings.register_directory)),
        ("locks", str(settings.locks_directory)),
        ("payloads", str(settings.payloads_directory)),
        ("ledger", str(settings.ledger_directory)),
        ("gridmapdir", str(settings.gridmapdir)),
        ("gridmapdir_local", "yes" if gridmapdir_local else "no"),
        *(("scratch", str(path)) for path in settings.scratch),
        ("slurm_programs", str(settings.slurm.programs)),
        ("slurm_user", settings.slurm.user),
        ("slurm_spool", settings.slurm.spool),
        ("prolog_on_failure", settings.slurm.prolog_on_failure),
        ("epilog_on_failure", settings.slurm.epilog_on_failure),
        ("hook_seconds", str(settings.slurm.hook_seconds)),
        ("holds", str(settings.holds_directory)),
        *settings.prune.node_pairs(),
        *settings.agent.node_pairs(str(settings.agent_socket), settings.store),
    ]


def remarks(settings: Settings, gridmapdir_kind: str) -> list[str]:
    """Return what an administrator should know of where this machine keeps the files."""
    said = []
    if not gridmapdir_kind:
        said.append(f"note: {settings.gridmapdir} is not here; hooks will trust the holder files alone")
    elif gridmapdir_kind not in LOCAL_FILE_SYSTEMS:
        said.append(f"note: {settings.gridmapdir} is on {gridmapdir_kind}; hooks will trust the holder files alone")
    runtime, state = settings.directories.runtime, settings.directories.state
    if (kind := file_system(runtime)) not in ("tmpfs", "ramfs", ""):
        said.append(f"warning: {runtime} is on {kind}; on tmpfs a restart would empty it, as it should")
    if (kind := file_system(state)) and kind not in LOCAL_FILE_SYSTEMS:
        said.append(f"warning: {state} is on {kind}; hooks would wait for another machine with every record")
    if kind in ("tmpfs", "ramfs"):
        said.append(f"warning: {state} is on {kind}; a restart would lose the ledger")
    return said


def file_system(path: Path) -> str:
    """Return the type of the file system that ``path`` is on, as the kernel names it; "" when it is not there.

    By the mount's number (proc(5): fdinfo, mountinfo), since btrfs shows other device numbers than its mount.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            if line.split(" ", 1)[0] == mount:
                return line.partition(" - ")[2].split(" ", 1)[0]
    return ""
