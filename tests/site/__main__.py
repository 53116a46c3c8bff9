"""Command line of the test site: `python3 -m tests.site --help`."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.site import build, host, recipe, up

DESCRIPTION = """\
A grid site for tests: Slurm, MariaDB and gridwarden as real daemons on a Debian root, in private namespaces.
It leaves nothing on the machine but the cached root. On bookworm there is Slurm 22.05 alone."""
EXAMPLES = """\
examples:
  python3 -m tests.site build
  python3 -m tests.site run -- sinfo
  python3 -m tests.site run -- pytest tests/story/test_journey.py
  python3 -m tests.site run --suite bookworm -- sinfo --version
  python3 -m tests.site shell
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.site",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = actions.add_parser("build", help="build the cached root if the recipe has none yet")
    made.add_argument("suites", nargs="*", metavar="SUITE", help="of trixie (unless any is named) and bookworm")
    run = actions.add_parser("run", help="bring a pristine site up, run a command in it as root, take it down")
    _add_suite(run)
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its words")
    _add_suite(actions.add_parser("shell", help="the same with a shell"))
    apart = actions.add_parser("apart", help="run a command on this machine, no process of which it sees or signals")
    apart.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its words")
    _add_suite(
        actions.add_parser("status", help="say whether a site can be had here; if not, what is missing, and exit 1")
    )
    words = parser.parse_args()
    try:
        return _act(parser, words)
    except host.SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1


def _add_suite(action: argparse.ArgumentParser) -> None:
    action.add_argument("--suite", choices=recipe.SUITES, default="trixie", help="which Debian (default: trixie)")


def _build(suites: list[recipe.Suite]) -> int:
    """All beside each other: one waits for the network while another unpacks."""
    with ThreadPoolExecutor() as beside:
        for root in list(beside.map(build.build, suites)):
            print(root)
    return 0


def _act(parser: argparse.ArgumentParser, words: argparse.Namespace) -> int:
    if words.action == "build":
        unknown = [name for name in words.suites if name not in recipe.SUITES]
        if unknown:
            parser.error(f"there is no recipe for {unknown[0]}")
        return _build([recipe.SUITES[name] for name in words.suites or ["trixie"]])
    if words.action != "apart":
        suite = recipe.SUITES[words.suite]
    if words.action == "status":
        print(host.why_no_site(suite) or f"the site's root: {recipe.root_directory(suite)}")
        return 1 if host.lacks(suite) else 0
    if words.action == "shell":
        return up.run(suite, ["bash"])
    command = words.command[1:] if words.command[:1] == ["--"] else words.command
    if not command:
        parser.error(f"{words.action} needs a command: {words.action} -- COMMAND …")
    return up.run(suite, command) if words.action == "run" else host.run_apart(command)


if __name__ == "__main__":
    sys.exit(main())
