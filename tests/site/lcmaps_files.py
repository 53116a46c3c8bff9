"""What one plugin of the real LCMAPS finds in map files: files and people on standard input, answers on standard output.

One process asks about all of them: LCMAPS reads the map file anew for each request.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.site.lcmaps import ENVIRONMENT, Lcmaps

Person = tuple[str, Sequence[str]]
"""A DN and FQANs."""

OPTIONS = {
    "localaccount": "",
    "poolaccount": " -gridmapdir {gridmapdir}",
    "voms_localaccount": " --use-account-gid",
    "voms_poolaccount": " -gridmapdir {gridmapdir} --do-not-require-primary-gid --add-primary-gid-from-mapped-account",
}


def answers(
    plugin: str, files: Sequence[tuple[str, Sequence[Person]]], accounts: Sequence[str]
) -> list[list[str | None]]:
    """For each map file and each of its people the account that the plugin gives, or None; no lease is left.

    ``accounts`` are the pool accounts there are.
    """
    with TemporaryDirectory() as name:
        work = Path(name)
        gridmapdir = work / "gridmapdir"
        gridmapdir.mkdir()
        for account in accounts:
            (gridmapdir / account).touch()
        (work / "everybody").write_text("*\n")
        options = OPTIONS[plugin].format(gridmapdir=gridmapdir)
        (work / "lcmaps.db").write_text(
            "path = /usr/lib/lcmaps\n"
            f'asked = "lcmaps_{plugin}.mod -gridmapfile {work}/map{options}"\n'
            f'refused = "lcmaps_ban_dn.mod -banmapfile {work}/everybody"\n'
            "site:\n~asked -> refused\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "tests.site.lcmaps_files", name],
            input=json.dumps(files),
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            env=os.environ | ENVIRONMENT | {"LCMAPS_DB_FILE": f"{work}/lcmaps.db", "LCMAPS_DEBUG_LEVEL": "0"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


def main(work: Path) -> None:
    """Answer."""
    lcmaps = Lcmaps()
    found = []
    for text, people in json.load(sys.stdin):
        (work / "map").write_bytes(text.encode("utf-8", "surrogateescape"))
        found.append([ask(lcmaps, work, dn, fqans) for dn, fqans in people])
    print(json.dumps(found))


def ask(lcmaps: Lcmaps, work: Path, dn: str, fqans: Sequence[str]) -> str | None:
    answer = lcmaps.uid_and_lease(dn.encode(), [fqan.encode() for fqan in fqans])
    if answer is None:
        return None
    uid, lease = answer
    if lease:
        (work / "gridmapdir" / os.fsdecode(lease)).unlink()
    return pwd.getpwuid(uid).pw_name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
