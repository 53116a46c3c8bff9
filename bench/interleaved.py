"""Ways of doing something, measured in turn, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping


def parser(title: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that measurements have in common; ``title`` is the module's docstring."""
    options = argparse.ArgumentParser(description=(title or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--json", action="store_true", help="print JSON")
    return options


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int, left_out: int = 1) -> dict[str, list[float]]:
    """What each way returned in every round but the first ``left_out``, which only warm up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + left_out):
        for name, way in ways.items():
            took = way()
            if number >= left_out:
                taken[name].append(took)
    return taken


def cpu_milliseconds(work: Callable[[], object]) -> Callable[[], float]:
    """``work``, returning its CPU milliseconds instead, without collecting the garbage of the other ways."""

    def run() -> float:
        gc.collect()
        start = _cpu_seconds()
        result = work()
        took = (_cpu_seconds() - start) * 1000
        del result
        return took

    return run


def program_milliseconds(command: list[str], environment: dict[str, str], presented: bytes = b"") -> float:
    """Run a program to its end, ``presented`` on its standard input, and return how long that took."""
    source = os.memfd_create("presented")
    os.write(source, presented)
    os.lseek(source, 0, os.SEEK_SET)
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], command, environment, file_actions=quiet)
    _, status = os.waitpid(child, 0)
    took = (time.perf_counter() - start) * 1000
    os.close(source)
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with wait status {status}")
    return took


def print_programs(
    taken: dict[str, list[float]], budgets: Mapping[str, float], *, as_json: bool, **how: object
) -> None:
    """Print the medians of whole programs, and their ratio to that of ``floor``; in JSON also ``how`` they were measured."""
    floor = statistics.median(taken["floor"])
    rows = [
        {
            "what": name,
            "median_ms": round(statistics.median(times), 2),
            "least_ms": round(min(times), 2),
            "ratio": round(statistics.median(times) / floor, 2),
            "budget": budgets.get(name),
        }
        for name, times in taken.items()
    ]
    if as_json:
        rounds = len(taken["floor"])
        told = {"rounds": rounds, "python": sys.version.split()[0], "load": os.getloadavg()[0]}
        print(json.dumps(told | how | {"rows": rows}, indent=1))
        return
    for row in rows:
        budget = f"budget {row['budget']}" if row["budget"] else ""
        print(f"{row['what']:12} {row['median_ms']:7.2f} ms   {row['ratio']:5.2f} x floor   {budget}")


def _cpu_seconds() -> float:
    """What this process and the programs that it has waited for have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
