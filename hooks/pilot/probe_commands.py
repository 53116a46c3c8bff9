"""``gridwarden exec-check`` and ``gridwarden exec-test``."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gridwarden.errors import BadQuestion
from gridwarden.output import escape, format_option, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridwarden.hooks.pilot.exec_test import Proof

FACE = "/usr/bin/gridwarden-exec"


def credentials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of whose payload it is, and whose pilot."""
    for name, meaning in (
        ("pilot-proxy", "The pilot's own proxy.  [default: $X509_USER_PROXY]"),
        ("token", "File with the token of the payload's owner."),
        ("proxy", "Proxy of the payload's owner; it belongs to the pilot, mode 0600.  [default: $GLEXEC_CLIENT_CERT]"),
    ):
        function = click.option(f"--{name}", type=click.Path(path_type=Path), help=meaning)(function)
    return function


@click.command("exec-check")
@credentials
@click.option("--face", help="Program to check.  [default: glexec as pilots find it]")
@click.pass_context
def exec_check_command(
    context: click.Context, proxy: Path | None, token: Path | None, pilot_proxy: Path | None, face: str | None
) -> None:
    """Check as a pilot, on a worker node, that payloads run under another account; one line, for Nagios.

    Exit code 0: they do; 1: they run, but as the pilot itself, or no directory could be made for them; 2: none runs;
    3: it cannot be told, as by root, for whom nothing is started.

    \b
    Examples:
      gridwarden exec-check --proxy payload.pem --pilot-proxy pilot.pem
      gridwarden exec-check --token payload.jwt --pilot-proxy pilot.pem --face /usr/bin/gridwarden-exec
      runuser -u pilot -- gridwarden exec-check --proxy payload.pem --pilot-proxy pilot.pem
    """
    from gridwarden.hooks.pilot import probe

    environment = surroundings(proxy, pilot_proxy)
    if token:
        face = face or FACE
        environment.pop("GLEXEC_CLIENT_CERT", None)
    owner = ["--token", os.path.abspath(token)] if token else []
    exec_dir = [own_program(), "exec-dir", *owner, environment.get("TMPDIR", "/tmp")]  # noqa: S108 - only by that
    try:
        verdict = (
            probe.AS_ROOT
            if os.geteuid() == 0
            else probe.check([face or probe.find_face(environment), *owner], exec_dir, environment)
        )
    except Exception as error:  # noqa: BLE001 - Nagios reads 1 as a warning, and a traceback not at all
        verdict = probe.Verdict(probe.UNKNOWN, f"{type(error).__name__}: {error}")
    click.echo(verdict.line())
    context.exit(verdict.code)


def surroundings(proxy: Path | None, pilot_proxy: Path | None) -> dict[str, str]:
    """This process's environment with the credentials where pilots put them."""
    given = {"GLEXEC_CLIENT_CERT": proxy, "X509_USER_PROXY": pilot_proxy}
    return {**os.environ, **{name: os.path.abspath(path) for name, path in given.items() if path}}


def own_program() -> str:
    """The path of this very command, for a job to call it by."""
    return os.path.abspath(sys.argv[0])


@click.command("exec-test")
@click.option("--pilot", help="Account of the pilot, as whom the jobs are submitted.")
@credentials
@click.option("--face", default=FACE, show_default=True, help="Program that runs payloads.")
@click.option("--seconds", type=click.IntRange(1, 3600), default=20, show_default=True, help="CPU time to burn.")
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Shared with the nodes.  [default: the pilot's home]"
)
@click.option("--partition", help="Of Slurm; its default if left out.")
@click.option("--inside", type=click.Path(path_type=Path), metavar="DIRECTORY", help="Be the job; write proofs there.")
@click.option("--tick", is_flag=True, help="With --inside: run a payload that writes lines until it is ended.")
@format_option
@click.pass_context
def exec_test_command(
    context: click.Context,
    pilot: str | None,
    proxy: Path | None,
    token: Path | None,
    pilot_proxy: Path | None,
    face: str,
    seconds: int,
    directory: Path | None,
    partition: str | None,
    inside: Path | None,
    tick: bool,
    format: str,
) -> None:
    """Prove with two jobs in the site's own Slurm that payloads of a pilot are held like the pilot itself.

    Submit, another uid, orphans whose middle parent was killed, suspend, resume, kill, and CPU time in the pilot's rusage and
    in sacct. Run it as root where jobs are submitted; the credentials must lie where the nodes see them, and belong to the
    pilot. The last line is the verdict; exit code 1 when something was not proved.

    In another batch system, submit a job that runs `gridwarden exec-test --inside DIRECTORY` as the pilot: it proves what can
    be proved without suspend and kill.

    \b
    Examples:
      gridwarden exec-test --pilot pilotcms --proxy ~pilotcms/payload.pem --pilot-proxy ~pilotcms/pilot.pem
    """
    from gridwarden.hooks.pilot import exec_test

    command = [face, *(["--token", str(token)] if token else [])]
    if inside:
        os.environ.update(surroundings(proxy, pilot_proxy))
        if tick:
            exec_test.tick(command, inside)
            return
        proofs = exec_test.prove(command, seconds)
        exec_test.write(inside, proofs)
    else:
        given = {"proxy": proxy, "token": token, "pilot-proxy": pilot_proxy}
        options = [word for name, path in given.items() if path for word in (f"--{name}", os.path.abspath(path))]
        options += ["--face", face, "--seconds", str(seconds)]
        proofs = in_slurm(context.obj, pilot, options, directory, partition, seconds)
    say(proofs, format)
    if not all(proof.holds for proof in proofs):
        context.exit(1)


def in_slurm(
    config: Path, pilot: str | None, options: Sequence[str], directory: Path | None, partition: str | None, seconds: int
) -> list[Proof]:
    """The proofs of both jobs; raises BadQuestion, Unavailable."""
    from gridwarden.hooks.pilot import exec_test_slurm
    from gridwarden.load_settings import load

    if os.geteuid() != 0:
        raise BadQuestion("only root may suspend a job of Slurm's", "run it as root, or be the job with --inside")
    if not pilot:
        raise BadQuestion("--pilot: whose jobs are they to be?", "the account of a pilot that pilot.callers names")
    try:
        user = pwd.getpwnam(pilot)
    except KeyError:
        raise BadQuestion(f"--pilot: {pilot} is no account of this machine") from None
    chosen = (f"--partition={partition}",) if partition else ()
    slurm = exec_test_slurm.Slurm(user, load(config).slurm.programs, ("--job-name=exec-test", *chosen))

    def inside(place: str, ticking: bool) -> Sequence[str]:
        return [own_program(), "exec-test", "--inside", place, *options, *(["--tick"] if ticking else [])]

    return exec_test_slurm.run(slurm, inside, directory or Path(user.pw_dir), seconds)


def say(proofs: Sequence[Proof], format: str) -> None:
    """Print each proof, and the verdict."""
    rows = [
        {"proof": proof.name, "verdict": "yes" if proof.holds else "NO", "detail": proof.detail} for proof in proofs
    ]
    write(rows, ["proof", "verdict", "detail"], format)
    failed = [proof.name for proof in proofs if not proof.holds]
    verdict = f"FAILED: {', '.join(failed)}" if failed else f"PASSED: {', '.join(proof.name for proof in proofs)}"
    click.echo(escape(f"exec-test {verdict}"), err=format != "table")
