"""Run a command, and turn whatever ends it into text and an exit code; docs/exit-codes.md is the table."""

from __future__ import annotations

import os
import sys
import traceback

import click
from click.shell_completion import shell_complete

from gridwarden.errors import GridwardenError
from gridwarden.output import escape

UNEXPECTED = 70  # EX_SOFTWARE: a fault of gridwarden itself
OPERATING_SYSTEM = 71  # EX_OSERR: the machine refused something that no part foresaw
INTERRUPTED = 130  # 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE, as if the reader's departure had ended us: 1 would say "nothing known"


def run(command: click.Command, name: str, arguments: list[str]) -> int:
    """Run ``command`` as the program ``name``; return its exit code.

    Whatever can go wrong becomes text here and nowhere else.
    """
    open_missing_streams()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a subject no locale can print
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    if instruction := os.environ.get(variable):
        return shell_complete(command, {}, name, variable, instruction)
    try:
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  all become an exit code that scripts can tell apart
        return failed(error, name)
    return 0


def failed(error: BaseException, name: str) -> int:  # noqa: PLR0911  one a kind of end
    """Say why the program ``name`` could not do what it should; return its exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            error.show()
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED
        case BrokenPipeError():
            # What is still in the buffer must not be tried again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        case GridwardenError():
            complain(name, str(error), error.hint or who_may(error))
            return error.exit_code
        case OSError():
            complain(name, f"{error.filename or 'the operating system'}: {error.strerror or error}", who_may(error))
            return OPERATING_SYSTEM
    traceback.print_exception(error)
    complain(
        name,
        f"unexpected {type(error).__name__}: {error}",
        "this is a fault of gridwarden; please report the lines above",
    )
    return UNEXPECTED


def who_may(error: BaseException | None) -> str:
    """What is next for somebody whom the machine keeps from it, "" for anybody else."""
    while error is not None and not isinstance(error, PermissionError):
        error = error.__cause__
    return "run it as root" if error is not None and os.geteuid() != 0 else ""


def open_missing_streams() -> None:
    """Send to /dev/null what the caller closed (``>&-``), or the next file opened would get our output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115  lives on


def complain(name: str, message: str, hint: str = "") -> None:
    """Write an error, one line a fault, and what to do next, to standard error."""
    for line in message.split("\n"):
        click.echo(f"{name}: {escape(line)}", err=True)
    if hint:
        click.echo(f"hint: {escape(hint)}", err=True)
