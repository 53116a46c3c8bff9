"""Put the programs that batch systems call where they find them, with interpreter and package by absolute path.

They run as root, Slurm's for every job, so everything that they load must be root's alone: the interpreter,
and each directory down to the installed package.  They start with ``-ISB``: without user site, environment
or ``site`` module, and without writing byte code; what a wheel's installer compiled is used.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from textwrap import indent
from typing import TYPE_CHECKING, NamedTuple

import gridwarden
from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks import code_file
from gridwarden.hooks.pilot import entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONGEST_SHEBANG = 127  # bytes of the first line that every Linux kernel in use reads
# A job must not fail, nor a node be drained, because of the file of modules: it only saves each hook a third of its time.
LOADING = """\
try:
    import marshal
    from _frozen_importlib_external import MAGIC_NUMBER

    os.fstat(0), os.fstat(1), os.fstat(2)  # where one is closed the file would take its place, and children replace it
{load}except Exception:  # it is not there, of another gridwarden, or broken: each module from where it is installed, then
    sys.path.append({library!r})
from {module} import main
"""
PROGRAM = """\
#!{interpreter} -ISB
# Written by `gridwarden hooks install`; the next one overwrites it.
import os, sys

{loading}
# Not sys.exit: every record is on disk, and taking the interpreter apart would cost a tenth of the time.
os._exit(main({context!r}))
"""
# None of these may end with anything but 0, which costs the job; slurmctld puts it back for ever.
TELLING = """\
#!{interpreter} -ISB
# Written by `gridwarden hooks install`; the next one overwrites it.
import os, sys

try:
{loading}
    main({context!r})
finally:
    os._exit(0)
"""
AGENT = """\
#!{interpreter} -ISB
# Written by `gridwarden hooks install`; the next one overwrites it.
import os, sys

sys.path.append({library!r})
from gridwarden.hooks.agent.main import main

os._exit(main({whoran!r}))
"""
# HTCondor's, ARC's: there 1 lets somebody else map who was refused, and Python ends so when it cannot even begin.
PLUGIN = """\
#!{interpreter} -ISB
# Written by `gridwarden hooks install`; the next one overwrites it.
import os, sys

sys.path += {libraries!r}
code = 70
try:
    from gridwarden.hooks.htcondor.plugin import main

    code = main(sys.argv[1:])
except BaseException as error:
    os.write(2, f"gridwarden: {{error!r}}\\n".encode("ascii", "backslashreplace"))
finally:
    os._exit(code)
"""
# So what they call is a shell.  sudo, too, ends with 1 when it may not do what it is asked to.
WRAPPER = """\
#!/bin/sh
# Written by `gridwarden hooks install`; the next one overwrites it.
{command}
code=$?
case $code in 1) exit 77 ;; 100) exit 1 ;; *) exit $code ;; esac
"""
WRAPPED = {
    "condor-token-map": "/usr/bin/sudo -n '{directory}/token-map' --declined 100",
    # The shell itself may drop variables with a dot in their names; ARC has them.
    "arc-token-map": '\'{directory}/token-map\' --declined 100 --environment "/proc/$$/environ" "$@"',
}
PLUGIN_LIBRARIES = ("gridwarden", "pydantic", "yaml")
SLURM_CONF = """\
Prolog={directory}/slurm-prolog
Epilog={directory}/slurm-epilog
PrologFlags=Alloc
JobSubmitPlugins=lua
PrologEpilogTimeout={seconds}
BatchStartTimeout={seconds}
# Optional, where gridwarden-agent runs: what slurmctld knows of jobs, in its own machine's ledger, and the pid of each task.
#PrologSlurmctld={directory}/slurm-prolog-slurmctld
#EpilogSlurmctld={directory}/slurm-epilog-slurmctld
#TaskProlog={directory}/slurm-task-prolog
"""
SPARE_SECONDS = 20  # what Slurm waits longer than a hook's own deadline
NODE, TELLERS = ("prolog", "epilog"), ("prolog-slurmctld", "epilog-slurmctld", "task-prolog")


class HookFile(NamedTuple):
    """A file that ``install`` writes."""

    path: Path
    data: bytes
    mode: int


PARTS = (
    "gridwarden",
    "gridwarden/hooks",
    "gridwarden/hooks/agent",
    "gridwarden/hooks/slurm",
    "gridwarden/hooks/htcondor",
    "gridwarden/hooks/pilot",
    "gridwarden/mapper",
    "gridwarden/batch",
    "gridwarden/prune",
)


def plan(
    directory: Path, slurm_directory: Path, programs: Path, glexec: Sequence[Path] = (), mode: str = "switch"
) -> list[HookFile]:
    """The files to write: Slurm's hooks, the mapping plugins, the job_submit plugin, the launcher and its faces.

    ``programs`` is where pilots find ``gridwarden-exec``, ``glexec`` the paths at which they find gLExec;
    ``mode`` is ``pilot.mode``.  Raises ConfigurationError when what they would run could be changed by others than root.
    """
    interpreter = os.path.realpath(sys.executable)
    library = os.path.dirname(os.path.realpath(gridwarden.__path__[0]))
    if len(f"#!{interpreter} -ISB") > LONGEST_SHEBANG:
        raise ConfigurationError(f"{interpreter}: the path is too long for the first line of a program")
    os.close(trusted.open_file(interpreter))
    packages = [os.path.realpath(f"{library}/{part}") for part in PARTS]
    for package in packages:
        os.close(trusted.open_directory(package))
    launcher, modules = directory / "exec", directory / code_file.LAUNCHER
    slurm = directory / code_file.SLURM
    node = loading(library, slurm, "gridwarden.hooks.slurm.node")
    telling = indent(loading(library, slurm, "gridwarden.hooks.slurm.telling"), "    ")
    hooks = [(context, PROGRAM, node) for context in NODE] + [(context, TELLING, telling) for context in TELLERS]
    whoran = os.path.join(sysconfig.get_path("scripts"), "whoran")
    job_submit = trusted.read_file(os.path.realpath(f"{library}/gridwarden/hooks/slurm/job_submit.lua"))
    return [
        *(
            _program(
                directory / f"slurm-{context}",
                program.format(interpreter=interpreter, loading=loading, context=context),
            )
            for context, program, loading in hooks
        ),
        _program(directory / "token-map", PLUGIN.format(interpreter=interpreter, libraries=libraries())),
        *(
            _program(directory / name, WRAPPER.format(command=command.format(directory=directory)))
            for name, command in WRAPPED.items()
        ),
        _program(directory / "agent", AGENT.format(interpreter=interpreter, library=library, whoran=whoran)),
        HookFile(slurm_directory / "job_submit.lua", job_submit, 0o644),
        *(  # before the launcher, which needs its own
            HookFile(directory / name, code_file.contents(library, needed), 0o644)
            for name, needed in code_file.NEEDED.items()
        ),
        _program(launcher, entry.text(interpreter, packages[0], libraries(), modules)),
        *(_program(path, text) for path, text in entry.faces(launcher, programs, glexec, mode).items()),
    ]


def loading(library: str, path: Path, module: str) -> str:
    """The beginning of a hook: ``main`` of ``module``, loaded from the file ``path``, or else from the directory ``library``."""
    load = code_file.load(f"{library}/gridwarden", path, module)
    return LOADING.format(load=load, module=module, library=library)


def _program(path: Path, text: str) -> HookFile:
    return HookFile(path, text.encode(), 0o755)


def libraries() -> list[str]:
    """The directories that the mapping plugin needs; raises ConfigurationError for one that others could change."""
    found = []
    for name in PLUGIN_LIBRARIES:
        package = importlib.import_module(name)
        found.append(os.path.dirname(os.path.realpath(package.__path__[0])))
        os.close(trusted.open_directory(os.path.realpath(package.__path__[0])))
    return list(dict.fromkeys(found))


def write(files: list[HookFile]) -> None:
    """Put each file in place as one step; raises ConfigurationError or OSError."""
    for file in files:
        file.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        trusted.replace_file(file.path, file.data, file.mode)


def slurm_conf(directory: Path, hook_seconds: int) -> str:
    """The lines that slurm.conf needs where hooks take up to ``hook_seconds``, and as comments those that it may have."""
    return SLURM_CONF.format(directory=directory, seconds=hook_seconds + SPARE_SECONDS)
