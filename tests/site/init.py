"""First process of a pid namespace: reaps what loses its parent, and ends with its one child's exit code.

A daemonised stray becomes this process's child; unreaped, it would stay in /proc as a zombie after its death.
"""

from __future__ import annotations

import os
import signal
import sys


def main(words: list[str]) -> int:
    child = os.posix_spawnp(words[0], words, os.environ)
    # Ctrl-C reaches everyone at the terminal; the child decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
