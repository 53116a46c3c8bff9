"""The text of what pilots and sudo start: the launcher's entry, which root runs, and the faces that pilots call.

The entry looks at the one file of our own modules (``hooks.own_modules``), at the interpreter, and at the directories of
everything else that it may load, with nothing but modules that are part of the interpreter itself: whoever else than root
could change one of those would be root at the next launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden import __version__
from gridwarden.hooks import code_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUDO = "/usr/bin/sudo"
ENTRY = """\
#!{interpreter} -ISB
# Written by `gridwarden hooks install`; the next one overwrites it.
import marshal, os, stat, sys
from _frozen_importlib_external import MAGIC_NUMBER

LIBRARIES = {libraries!r}


def look(path, status):
    if status.st_uid != 0 or (status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)):
        raise PermissionError(f"{{path}} could be changed by others than root")


code = 202
try:
    for path in (sys.executable, os.path.dirname(os.path.realpath(os.__file__)), *LIBRARIES, {modules!r}):
        while path != "/":
            look(path, os.lstat(path))
            path = os.path.dirname(path)
{load}    sys.path += LIBRARIES
    from gridwarden.hooks.pilot.start import main

    code = main()
except BaseException as error:
    os.write(2, f"gridwarden-exec: {{error!r}}\\n".encode("ascii", "backslashreplace"))
finally:
    os._exit(code)
"""

# Where sudo cannot make anybody root it says so in words that pilots take for the payload's, with the exit code 1.
FACE = """\
#!/bin/sh
# Written by `gridwarden hooks install`; the next one overwrites it.
{first}no() {{ echo "gridwarden-exec: $1" >&2; exit 202; }}
[ -u {sudo} ] || no "this machine has no {sudo} that could start the launcher"
[ -x {entry} ] || no "the launcher {entry} is not installed; gridwarden hooks install"
[ -r /proc/self/uid_map ] || no "/proc is not mounted here, so nobody can be looked after"
while read -r name value; do
    [ "$name $value" != "NoNewPrivs: 1" ] || no "this process may get no new privileges, so sudo cannot work here"
    [ "$name" != NoNewPrivs: ] || break
done </proc/self/status
read -r inside outside count </proc/self/uid_map
[ "$inside $outside $count" = "0 0 4294967295" ] ||
    no "this is a container with a user namespace of its own, so sudo cannot work here"
exec {sudo} -n -- {entry} {face} "$@"
"""

HELP = """\
[ "$*" != --help ] || { echo 'Run a payload as its owner: what a pilot calls, in its batch job.

usage: gridwarden-exec [OPTIONS] -- PROGRAM [ARGUMENTS]
       gridwarden-exec --check [OPTIONS] [-- PROGRAM]
       gridwarden-exec --renew (--name TEXT | --target FILE) [OPTIONS]

  --proxy FILE        the proxy of the owner, else GLEXEC_CLIENT_CERT
  --token FILE        the token of the owner
  --pilot-proxy FILE  the proxy of the pilot, else X509_USER_PROXY
  --pilot-token FILE  the token of the pilot, else BEARER_TOKEN_FILE
  --target FILE       where the payload gets its credential, else GLEXEC_TARGET_PROXY
  --name TEXT         what the pilot calls the payload, else GLEXEC_ID
  --check             say what would be decided, and run nothing
  --renew             give a payload that runs new credentials
  --help              show this

  gridwarden-exec --proxy owner.pem -- /path/of/program arguments
  gridwarden-exec --renew --name task-7 --token new.token

Exit codes: those of the payload; 201 the pilot is wrong, 202 this machine, 203 refused by the site, 204 the payload
itself ended with one of these, 126 not executable. man gridwarden-exec says more.'; exit 0; }
"""

GLEXEC_VERSION = """[ "$*" = -v ] && echo "glexec version: gridwarden {version}" && exit 0
"""

# Nobody becomes anybody else there, so nothing needs sudo.
LOG_ONLY = """\
#!/bin/sh
# Written by `gridwarden hooks install` for pilot.mode log-only; the next one overwrites it.
{first}exec {entry} {face} "$@"
"""


def text(interpreter: str, package: str, libraries: Sequence[str], modules: Path) -> str:
    """The entry, which loads the gridwarden of the directory ``package`` from the file ``modules``."""
    return ENTRY.format(
        interpreter=interpreter,
        libraries=list(libraries),
        modules=str(modules),
        load=code_file.load(package, modules),
    )


def faces(entry: Path, programs: Path, glexec: Sequence[Path], mode: str) -> dict[Path, str]:
    """The faces by the paths at which pilots find them: ``gridwarden-exec``, and gLExec's name at each path of ``glexec``."""
    text = LOG_ONLY if mode == "log-only" else FACE
    ours = {programs / "gridwarden-exec": text.format(sudo=SUDO, entry=entry, face="exec", first=HELP)}
    first = GLEXEC_VERSION.format(version=__version__)
    return ours | {path: text.format(sudo=SUDO, entry=entry, face="glexec", first=first) for path in glexec}
