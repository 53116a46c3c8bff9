"""Whether Slurm calls our hooks, and whether what it calls is what gridwarden installs.

What is in force is asked of ``scontrol show config`` (24.11: ``Prolog[0] = PATH``; up to 23.x: ``Prolog = PATH``, which
may be a pattern as well), not read from slurm.conf: slurmctld may not have read that since.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gridwarden import node_file, trusted
from gridwarden.batch import question, slurm_spool
from gridwarden.errors import ConfigurationError, Unavailable
from gridwarden.hooks import install
from gridwarden.hooks.doctor import clock
from gridwarden.hooks.doctor.finding import CRITICAL, WARNING, Finding
from gridwarden.hooks.slurm import deadline, telling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gridwarden.hooks.install import HookFile

ASK_SECONDS = 8.0
HEAD_BYTES = 4096
INSTALL = "gridwarden hooks install"
OURS = b"from gridwarden.hooks.slurm."
CONTEXTS = {"Prolog": "prolog", "Epilog": "epilog"}
OF_TASKS = {"TaskProlog": "task-prolog"}
OF_CONTROLLER = {"PrologSlurmctld": "prolog-slurmctld", "EpilogSlurmctld": "epilog-slurmctld"}
OPTIONAL = OF_TASKS | OF_CONTROLLER
LIMITS = {"PrologEpilogTimeout": CRITICAL, "BatchStartTimeout": WARNING}
NOT_SET = 65534  # PrologEpilogTimeout of who has set none; BatchStartTimeout is 10 then, slurm.conf(5)
_LINE = re.compile(r"(\w+)(?:\[\d+\])?\s*= (.*)")


class Config(NamedTuple):
    """What ``scontrol show config`` said: the controller's time as it told it, and the values of each key."""

    time: str
    values: dict[str, list[str]]

    def words(self, key: str) -> list[str]:
        """The words of a list such as PrologFlags."""
        return [word for value in self.values.get(key, []) for word in value.replace(",", " ").split()]

    @property
    def path(self) -> str:
        """The slurm.conf that it was read from."""
        return next(iter(self.values.get("SLURM_CONF", [])), "/etc/slurm/slurm.conf")

    def load_plugins(self) -> str:
        """What makes slurmctld load another plug-in: up to 23.02 it only did so as it started."""
        version = [int(part) for part in "".join(self.words("SLURM_VERSION")[:1]).split(".")[:2] if part.isdigit()]
        return "scontrol reconfigure" if version >= [23, 11] else "systemctl restart slurmctld"

    def is_controller(self) -> bool:
        """Whether slurmctld may run on this machine."""
        here = os.uname().nodename.partition(".")[0]
        return any(host.partition("(")[0].partition(".")[0] == here for host in self.values.get("SlurmctldHost", []))


def examine(programs: str, spool: str, files: Sequence[HookFile], site: dict[str, list[str]]) -> Iterator[Finding]:
    """Findings about this machine as a node, if slurmd runs here, and as a controller."""
    before = time.time()
    try:
        config = ask(programs)
    except Unavailable as error:
        yield Finding("slurm-silent", WARNING, f"whether Slurm calls our hooks is not known: {error}", "scontrol ping")
        return
    yield from clock.of_controller(config.time, before, time.time())
    wanted = {os.path.basename(file.path): file for file in files}
    if is_node(spool):
        for key, context in CONTEXTS.items():
            yield from hook(config, key, context, wanted[f"slurm-{context}"])
        yield from _optional(config, OF_TASKS, wanted)
        yield from _flags(config)
        yield from limits_leave_time(config, site)
    if config.is_controller():
        yield from _optional(config, OF_CONTROLLER, wanted)
        yield from _plugin(config, wanted["job_submit.lua"])


def ask(programs: str) -> Config:
    """The configuration that is in force; raises Unavailable."""
    return question.ask_for([f"{programs}/scontrol", "show", "config"], parse, ASK_SECONDS)


def parse(text: str) -> Config | None:
    """``scontrol show config``'s lines; None when they are something else."""
    first, _, rest = text.partition("\n")
    if not first.startswith("Configuration data as of "):
        return None
    values: dict[str, list[str]] = {}
    for line in rest.splitlines():
        if (match := _LINE.fullmatch(line.rstrip())) and match[2] != "(null)":
            values.setdefault(match[1], []).append(match[2])
    return Config(first.rpartition(" ")[2], values)


def is_node(spool: str) -> bool:
    """Whether a slurmd keeps its state on this machine."""
    try:
        return any(os.path.isdir(path) for path in slurm_spool.directories(spool).values())
    except OSError:
        return False


def called(config: Config, key: str, context: str) -> list[str]:
    """The programs of ours that Slurm calls as its ``key``, patterns of files followed."""
    paths = [path for value in config.values.get(key, []) for path in glob.glob(value) or [value]]
    return [path for path in paths if _is_ours(path, context)]


def _is_ours(path: str, context: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return os.path.basename(path) == f"slurm-{context}"  # named, and not there
    return OURS in head and f"main({context!r}".encode() in head


def hook(config: Config, key: str, context: str, wanted: HookFile) -> Iterator[Finding]:
    """Whether Slurm calls our program as its ``key``, and can."""
    paths = called(config, key, context)
    for path in paths or [str(wanted.path)]:  # what is called comes first: Slurm drains the node for want of it
        yield from installed(path, wanted)
    if not paths:
        remedy = f"echo '{key}={wanted.path}' >> {config.path} && scontrol reconfigure"
        yield Finding(
            "hook-not-called", CRITICAL, f"Slurm calls no {context} of gridwarden: no {key} names one", remedy
        )


def _optional(config: Config, contexts: dict[str, str], wanted: dict[str, HookFile]) -> Iterator[Finding]:
    """Hooks that a site may leave out, and that others than root execute."""
    for key, context in contexts.items():
        for path in called(config, key, context):
            yield from installed(path, wanted[f"slurm-{context}"])
            for closed in _closed_to_others([path, sys.executable, telling.__file__, node_file.PATH]):
                detail = f"{closed} can be read by root alone, and {key} runs as another user"
                yield Finding("hook-unreadable", CRITICAL, detail, f"chmod o+rX {closed}")


def _closed_to_others(paths: Sequence[str]) -> list[str]:
    """Which of these files, and the directories above them, only root or a group can read or enter."""
    real = [Path(os.path.realpath(path)) for path in paths if os.path.exists(path)]
    modes = {path: path.stat().st_mode for file in real for path in (file, *file.parents)}
    return sorted(str(path) for path, mode in modes.items() if not mode & (0o001 if stat.S_ISDIR(mode) else 0o004))


def installed(path: str, wanted: HookFile) -> Iterator[Finding]:
    """Whether the file at ``path`` is root's alone, can be executed, and is what ``gridwarden hooks install`` writes."""
    if not os.path.lexists(path):
        yield Finding("hook-missing", CRITICAL, f"{path} is not there: {_without(wanted)}", INSTALL)
        return
    try:
        descriptor = trusted.open_file(os.path.realpath(path))
    except ConfigurationError as error:
        yield Finding("hook-unsafe", CRITICAL, str(error), error.hint or INSTALL)
        return
    try:
        mode = os.fstat(descriptor).st_mode
        text = trusted.read_all(descriptor, trusted.READ_LIMIT, path)
    finally:
        os.close(descriptor)
    if wanted.mode & 0o111 and mode & 0o111 != 0o111:
        detail = f"{path} cannot be executed (mode {stat.S_IMODE(mode):04o})"
        yield Finding("hook-not-executable", CRITICAL, detail, f"chmod 755 {path}")
    if text != wanted.data:
        yield Finding("hook-old", WARNING, f"{path} is not what this version of gridwarden installs", INSTALL)


def _without(wanted: HookFile) -> str:
    """What Slurm does where the file is missing: docs/slurm-behaviour.md."""
    if not wanted.mode & 0o111:
        return "Slurm takes no job if it is to load that"
    name = wanted.path.name.removeprefix("slurm-")
    if name in OF_TASKS.values():
        return "every job fails"
    if name in OF_CONTROLLER.values():
        return "slurmctld notes that in its log, and nobody is told of jobs"
    return "Slurm drains each node on which it calls that"


def _flags(config: Config) -> Iterator[Finding]:
    flags = config.words("PrologFlags")
    if "Alloc" in flags:
        return
    line = ",".join([*flags, "Alloc"])
    edit = (
        f"sed -i 's/^PrologFlags=.*/PrologFlags={line}/I' {config.path}"
        if flags
        else f"echo PrologFlags={line} >> {config.path}"
    )
    detail = "PrologFlags has no Alloc: a prolog runs at a job's first step, not as the job is given the node"
    yield Finding("prolog-flags", CRITICAL, detail, f"{edit} && scontrol reconfigure")


def limits_leave_time(config: Config, site: dict[str, list[str]]) -> Iterator[Finding]:
    """Slurm's own limits must be above that of the hooks: it kills them in the midst of their work, or gives their job up."""
    own = int(sum(deadline.parts_of(site)))
    for key, severity in LIMITS.items():
        limits = [int(value) for value in config.words(key) if value.isdigit() and int(value) != NOT_SET]
        if limits and limits[0] <= own:
            detail = f"{key} is {limits[0]} s, and hooks take up to {own} s (slurm.hook_seconds)"
            edit = (
                f"sed -i '/^ *{key} *=/Id' {config.path} && echo {key}={own + install.SPARE_SECONDS} >> {config.path}"
            )
            yield Finding("hook-timeout", severity, detail, f"{edit} && scontrol reconfigure")


def _plugin(config: Config, wanted: HookFile) -> Iterator[Finding]:
    yield from installed(os.path.join(os.path.dirname(config.path), "job_submit.lua"), wanted)
    plugins = config.words("JobSubmitPlugins")
    if "lua" not in plugins:
        line = ",".join([*plugins, "lua"])
        edit = (
            f"sed -i 's/^JobSubmitPlugins=.*/JobSubmitPlugins={line}/I' {config.path}"
            if plugins
            else f"echo JobSubmitPlugins={line} >> {config.path}"
        )
        detail = "slurmctld loads no lua: jobs carry no stamp, and who is banned can submit"
        yield Finding("plugin-not-loaded", CRITICAL, detail, f"{edit} && {config.load_plugins()}")
