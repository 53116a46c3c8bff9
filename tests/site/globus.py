"""Asks the real Globus (libglobus_gss_assist, as gsissh and GridFTP do) for accounts: subjects in, accounts out.

The library comes into the site with VOMS.  It reads the gridmapdir and the map file from the environment, once.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

LIBRARY = "libglobus_gss_assist.so.3"


def globus_accounts(subjects: list[str], gridmapdir: Path, pool: str) -> list[str | None]:
    """The account of `pool` that Globus gives to each, in one process; None where it has none."""
    map_file = gridmapdir.parent / f"grid-mapfile.{os.urandom(4).hex()}"
    map_file.write_text("".join(f'"{subject}" .{pool}\n' for subject in subjects))
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(subjects),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"GRIDMAP": str(map_file), "GRIDMAPDIR": str(gridmapdir)},
    )
    answers: list[str | None] = json.loads(done.stdout)
    return answers


def main() -> None:
    """Answer."""
    library = ctypes.CDLL(LIBRARY)
    module = ctypes.c_char.in_dll(library, "globus_i_gsi_gss_assist_module")
    if ctypes.CDLL("libglobus_common.so.0").globus_module_activate(ctypes.byref(module)) != 0:
        sys.exit("globus_module_activate failed")
    answers = []
    for subject in json.load(sys.stdin):
        account = ctypes.c_char_p()
        failed = library.globus_gss_assist_gridmap(os.fsencode(subject), ctypes.byref(account))
        answers.append(None if failed else (account.value or b"").decode())
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
