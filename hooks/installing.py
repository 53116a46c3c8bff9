"""Put hook programs in place and take them away: what changes is shown first, and what others wrote is theirs.

A file is ours when its beginning says so.  The drop-ins of a site with ``prolog.d`` are the same programs there.
"""

from __future__ import annotations

import difflib
import glob
import os
import stat
from typing import TYPE_CHECKING

from gridwarden import agent_client, trusted
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.hooks import code_file
from gridwarden.hooks.doctor import slurm
from gridwarden.hooks.install import HookFile, slurm_conf, write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

MARKS = (b"# Written by `gridwarden hooks install`", b"-- gridwarden's job_submit plugin")
HEAD_BYTES = 512
LIMIT = 64 * 1024 * 1024
DROP_IN = "50-gridwarden"
CONTEXTS = ("prolog", "epilog")


def drop_ins(files: Sequence[HookFile], directory: Path) -> list[HookFile]:
    """The prolog and the epilog once more, for ``directory``/prolog.d and epilog.d; raises ConfigurationError without these."""
    found = []
    for context in CONTEXTS:
        place = directory / f"{context}.d"
        if not place.is_dir():
            raise ConfigurationError(f"{place}: is not there", f"mkdir {place}, and name {place}/* in slurm.conf")
        (program,) = [file for file in files if file.path.name == f"slurm-{context}"]
        found.append(program._replace(path=place / DROP_IN))
    return found


def install(files: Sequence[HookFile], replaceable: Collection[Path], *, dry_run: bool) -> Iterator[str]:
    """Write the files that are not in place yet; what was done, or would be, a text for each.

    Raises ConfigurationError, with nothing written, for one that others wrote, unless it is among ``replaceable``.
    """
    foreign = [file.path for file in files if file.path not in replaceable and _is_foreign(file.path)]
    if foreign:
        names = ", ".join(map(str, foreign))
        raise ConfigurationError(f"{names}: not written by gridwarden", "move it away, or merge it; then again")
    for file in files:
        if is_in_place(file):
            yield f"unchanged {file.path}"
            continue
        shown = _difference(file) if dry_run else ""
        if not dry_run:
            write([file])
        yield f"{'would write' if dry_run else 'wrote'} {file.path} (mode {file.mode:04o}){shown}"


def uninstall(files: Sequence[HookFile], directory: Path, *, dry_run: bool) -> Iterator[str]:
    """Remove the files that are ours, also those that earlier versions left in ``directory``, and that when it is empty."""
    older = [path for path in sorted(directory.glob("*")) if not _is_foreign(path)]
    remove, removed = ("would remove", []) if dry_run else ("removed", [])
    for path in dict.fromkeys([*(file.path for file in files), *older]):
        if not os.path.lexists(path):
            continue
        if _is_foreign(path):
            yield f"left {path}: not written by gridwarden"
            continue
        if not dry_run:
            _remove(path)
        removed.append(path)
        yield f"{remove} {path}"
    if directory.is_dir() and not set(directory.iterdir()) - set(removed):
        if not dry_run:
            directory.rmdir()
        yield f"{remove} {directory}"


def refuse_in_use(files: Sequence[HookFile], programs: str) -> None:
    """Raise ConfigurationError while Slurm would miss what is to be removed: it drains nodes, or refuses all jobs, then.

    Raises Unavailable where Slurm does not say; a machine without its programs has nothing that could miss them.
    """
    if not os.path.exists(f"{programs}/scontrol"):
        return
    try:
        config = slurm.ask(programs)
    except Unavailable as error:
        raise Unavailable(
            f"whether Slurm still calls them is not known: {error}", "--force removes them all the same"
        ) from error
    paths = {str(file.path) for file in files}
    named = [
        f"{key}={path}"
        for key in slurm.CONTEXTS | slurm.OPTIONAL
        for path in config.values.get(key, [])
        if set(glob.glob(path) or [path]) <= paths
    ]
    if "lua" in config.words("JobSubmitPlugins") and f"{os.path.dirname(config.path)}/job_submit.lua" in paths:
        named.append("JobSubmitPlugins=lua")
    if named:
        hint = f"take that out of {config.path} first, then {config.load_plugins()}; --force removes them all the same"
        raise ConfigurationError(f"Slurm still needs them: {', '.join(named)}", hint)


def refuse_running_agent(files: Sequence[HookFile], socket: str) -> None:
    """Raise ConfigurationError while the agent runs from one of them: systemd would start it again and again in vain."""
    told = agent_client.status(socket) or {}
    try:
        with open(f"/proc/{int(told.get('pid', ''))}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (OSError, ValueError):
        return
    if {os.fsencode(each.path) for each in files} & set(words):
        stop = f"systemctl disable --now gridwarden-agent.socket gridwarden-agent.service || kill {told['pid']}"
        raise ConfigurationError(
            "gridwarden-agent runs from what would be removed", f"{stop}; --force removes it all the same"
        )


def fragment(directory: Path, drop_in: Path | None, hook_seconds: int) -> str:
    """The lines that slurm.conf needs where hooks take up to ``hook_seconds``, and as comments those that it may have."""
    text = slurm_conf(directory, hook_seconds)
    for context in CONTEXTS if drop_in else ():
        text = text.replace(f"{directory}/slurm-{context}\n", f"{drop_in}/{context}.d/*\n")
    return text


def is_in_place(file: HookFile) -> bool:
    """Whether the file is there as it would be written."""
    try:
        descriptor = trusted.open_file(file.path)
    except ConfigurationError:
        return False
    try:
        status = os.fstat(descriptor)
        return (stat.S_IMODE(status.st_mode), status.st_uid) == (file.mode, 0) and trusted.read_all(
            descriptor, LIMIT, str(file.path)
        ) == file.data
    finally:
        os.close(descriptor)


def _is_foreign(path: Path) -> bool:
    """Whether something is there that gridwarden has not written, as far as its beginning shows."""
    if not os.path.lexists(path) or path.name in code_file.NEEDED:  # no text: ours by its name, in our own directory
        return False
    try:
        descriptor = os.open(path, trusted.OPEN_FLAGS | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        head = os.read(descriptor, HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        return not any(mark in head for mark in MARKS)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    directory = trusted.open_directory(path.parent)
    try:
        os.unlink(path.name, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)


def _difference(file: HookFile) -> str:
    """A unified diff of what is there and what would be, on lines of their own."""
    try:
        new = file.data.decode()
        old = file.path.read_text() if file.path.is_file() else ""
    except (ValueError, OSError):
        return f", {len(file.data)} bytes"
    names = (str(file.path) if file.path.exists() else "/dev/null", str(file.path))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="")
    return "".join(f"\n{line}" for line in lines)
