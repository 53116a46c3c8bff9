"""Do work in a child process that may be given up: what hangs there, or is killed, costs its parent a deadline."""

from __future__ import annotations

import os
import time

from gridwarden.trusted import write_all

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 65536  # bytes read at once: what a pipe holds
LOOK_SECONDS = 1.0  # between two looks at whether a child stands still


def run(
    work: Callable[[int], None], seconds: float, enough: Callable[[bytes | bytearray], bool] = lambda _: False
) -> tuple[bytes, bool]:
    """Run ``work`` in a child for at most ``seconds``: its report, and whether it ended well, by itself and in time.

    ``work`` gets a descriptor to write its report to; the child is killed early once that is ``enough``.
    What a child that was killed had reported by then is returned all the same.  One that is found stopped at two looks in
    a row, as its account can do, has had its time; who is stopped with us goes on with us.  Standard input, output and error of
    the child are /dev/null: whoever reads ours to their end does not wait for a child that hangs.
    """
    import select  # noqa: PLC0415 - a prolog has no use for it

    deadline = time.monotonic() + seconds
    reading, writing = os.pipe2(os.O_CLOEXEC)
    failure, failing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _work(work, writing, failing)
    ended = False
    try:
        os.close(writing)
        os.close(failing)
        ending = os.pidfd_open(child)
        report = bytearray()
        told = stopped = False
        poll = select.poll()
        poll.register(reading)
        while not (ended or enough(report)) and (left := deadline - time.monotonic()) > 0:
            if not poll.poll(min(left, LOOK_SECONDS) * 1000):
                before, stopped = stopped, _is_stopped(child)
                if before and stopped:
                    break
                continue
            if told:
                ended = True
            elif part := os.read(reading, PIECE):
                report += part
            else:
                told = True
                poll.unregister(reading)
                poll.register(ending, select.POLLIN)
        os.close(reading)
        os.close(ending)
    finally:  # also where a hook's own deadline ends this: whom its account has stopped would keep our locks for ever
        if not ended:
            os.kill(child, 9)  # ours and not reaped yet, so the number is still its own
    if not ended:
        time.sleep(0.01)
    # A child that hangs in the kernel is left behind: it keeps the account's lock for as long as it could act.
    pid, status = os.waitpid(child, os.WNOHANG)
    _pass_on(failure)
    return bytes(report), ended and pid == child and status == 0


def ask(question: Callable[[], str], seconds: float) -> str | None:
    """The answer of ``question``, asked in a child; None where it did not come within ``seconds``, or not whole."""
    report, well = run(lambda writing: write_all(writing, os.fsencode(question())), seconds)
    return os.fsdecode(bytes(report)) if well else None


def _is_stopped(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _work(work: Callable[[int], None], writing: int, failing: int) -> None:
    try:
        while min(writing, failing) < 3:  # where we were started without one of the standard three
            writing, failing = os.dup(writing), os.dup(failing)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        work(writing)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the parent's code must never run on in the child
        os.write(failing, f"gridwarden: as uid {os.getuid()}: {error!r}\n".encode("ascii", "backslashreplace")[:PIECE])
        os._exit(1)


def _pass_on(failure: int) -> None:
    """Print what a child said of its failure, if it did and somebody listens; who reads no more is not waited for."""
    import select  # noqa: PLC0415 - as above

    os.set_blocking(failure, False)
    listening = select.poll()
    listening.register(2, select.POLLOUT)
    try:
        if (said := os.read(failure, select.PIPE_BUF)) and listening.poll(0):
            os.write(2, said)
    except OSError:
        pass
    os.close(failure)
