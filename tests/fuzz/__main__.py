"""Fuzz one parser: ``python -m tests.fuzz TARGET [--seconds N]``.

A target is a module ``tests/fuzz/fuzz_TARGET.py`` with ``SEEDS``, inputs to begin from, and ``one(data)``, which gives
the bytes to a parser and lets through whatever that parser may not raise.  atheris (libFuzzer) watches which branches
of gridwarden each input takes.  An input that fails is left in a file that the last lines name; ``--again FILE`` runs it
alone.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from tempfile import mkdtemp

import atheris

LONGEST_INPUT = 65536
SLOWEST = 5  # seconds that one input may take


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=targets())
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--again", type=Path, metavar="FILE")
    options = parser.parse_args()
    with atheris.instrument_imports(include=["gridwarden", f"tests.fuzz.fuzz_{options.target}"]):
        module = importlib.import_module(f"tests.fuzz.fuzz_{options.target}")
    if options.again:
        module.one(options.again.read_bytes())
        return
    work = Path(mkdtemp(prefix=f"gridwarden-fuzz-{options.target}-"))
    seeds = work / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(module.SEEDS):
        (seeds / str(number)).write_bytes(seed)
    arguments = {
        "max_total_time": options.seconds,
        "max_len": LONGEST_INPUT,
        "timeout": SLOWEST,
        "artifact_prefix": f"{work}/",
        "verbosity": 0,
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in arguments.items()), str(seeds)], module.one)
    atheris.Fuzz()


def targets() -> list[str]:
    return sorted(path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py"))


if __name__ == "__main__":
    main()
