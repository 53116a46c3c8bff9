"""The program ``gridwarden-prune``: a run as cron and timers start it, without what only options and people need.

Such a run comes every few minutes on every node, and nearly always finds nothing to do.
"""

from __future__ import annotations

import os
import sys

from gridwarden.prune.signals import Urgent

NAME = "gridwarden-prune"


def main() -> int:
    """Run ``gridwarden-prune``; return its exit code."""
    if len(sys.argv) > 1 or "_GRIDWARDEN_PRUNE_COMPLETE" in os.environ:
        from gridwarden.prune.commands import prune_command  # noqa: PLC0415 - see above
        from gridwarden.run import run  # noqa: PLC0415

        return run(prune_command, NAME, sys.argv[1:])
    try:
        with Urgent():  # a fork bomb may leave little time for what has to be loaded
            from gridwarden import node_file  # noqa: PLC0415
            from gridwarden.prune.run import prune  # noqa: PLC0415

            site = node_file.read()
        report = prune(site, dry_run=False)
        if report.is_quiet() and not os.isatty(2):
            return report.exit_code()
        from gridwarden.prune.commands import show  # noqa: PLC0415

        show(report, "table", everything=False)
        return report.exit_code()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all become an exit code, as for every command
        from gridwarden.run import failed  # noqa: PLC0415

        return failed(error, NAME)
