"""The page of docs/ that shows what bench/launch.py measured."""

from __future__ import annotations

from typing import Any

import pages

WORDS = {
    "floor": "`sudo -n python3 -I -S -c pass`",
    "parts": "the same sudo, interpreter, libcrypto, PAM and payload, in a program that does nothing else",
    "proxy": "`gridwarden-exec`, an owner's proxy",
    "token": "`gridwarden-exec`, an owner's token (ES256)",
}


def verdict(rows: list[dict[str, Any]]) -> str:
    """Which budgets are not kept."""
    beyond = [row["what"] for row in rows if row["budget"] and row["ratio"] > row["budget"]]
    return f"A launch with a {' or a '.join(beyond)} is beyond its budget." if beyond else "All is within budget."


# Of a launch with a proxy: medians of 25, each step's beginning written down by the launcher, its guard and its verifiers,
# which takes 3 ms itself.
SPENT = (
    ("the face, sudo, and Python's own start", 18.5),
    ("the entry looks at who could have changed what, reads the index of the modules", 0.7),
    ("ctypes and the first modules; who is above, limits; a process forked to make verifiers ready", 3.8),
    ("more modules; who calls, the words, the copy of site.yaml, the node file", 4.6),
    ("a child that is the caller reads both credentials, which go to the verifiers", 2.1),
    ("60 modules while they are at work, and the guard forked, on whose core PAM's modules are loaded", 5.9),
    ("waiting for the second verifier: 4 ms each, beside all the former on two cores", 6.0),
    ("the caller's rule, its job, bans, policy, lease, holder", 2.0),
    ("program and directory judged; register, state file, the guard's order", 1.3),
    ("PAM's account and session; beside it the credential handed over, the end's modules loaded", 4.7),
    ("payload_start on record, on disk", 0.9),
    ("the payload's process becomes its owner's, executes, ends, and is waited for", 2.2),
    ("PAM's session closed, the guard ended; beside it payload_end on record, on disk", 1.7),
    ("its directory removed, the register left", 0.3),
    ("nobody runs as the account: asked of Slurm, and of /proc", 1.2),
    ("a child lists the scratch directories", 2.2),
    ("the launcher's end, and sudo's", 2.2),
)
# In turn with what was before, in milliseconds of the median.
TRIED = (
    ("a lease loads functools no more; libcrypto made ready once, behind the walls, for both verifiers", "6", "kept"),
    ("modules loaded without being looked for; room in the ledger only where somebody is to be killed", "1.7", "kept"),
    (
        "what hardly any launch needs loaded only where it is needed; the face reads no further than it must",
        "1.0",
        "kept",
    ),
    ("an answer ends before its verifier, for whose maker's end nobody waits", "0.9", "kept"),
    ("mount points unescaped only where they are escaped", "0.1", "kept"),
    (
        "the end put on record while PAM closes the session, the payload's process prepared while its beginning is",
        "1.2",
        "kept",
    ),
    ("the guard loads PAM's modules only once the owner is known", "0.1", "dropped"),
    ("no garbage collected in a launch", "0", "dropped"),
    ("code without line numbers: 47 pages less", "0", "dropped"),
    ("verifiers without a network namespace of their own", "1", "dropped: they would be less apart"),
)


def page(result: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows = "\n".join(
        f"| {WORDS[row['what']]} | {row['median_ms']:.1f} | {row['least_ms']:.1f} | {row['ratio']:.1f} | {row['budget'] or ''} |"
        for row in result["rows"]
    )
    shared = "with real-time priority on two cores" if result.get("realtime") else "on two cores shared with other work"
    spent = "\n".join(f"| {what} | {took:.1f} |" for what, took in SPENT)
    tried = "\n".join(f"| {what} | {gain} | {kept} |" for what, gain, kept in TRIED)
    text = f"""Whole launches of `/bin/true`, in turn, {result["rounds"]} rounds, Python {result["python"]}, {shared}:
face, sudo, the pilot's proxy and the owner's credential read and verified, bans, policy, lease, records on disk, PAM's account and
session with eight modules, the payload, and the clearing of its account afterwards.

| what | median ms | least ms | times the floor | budget |
|---|---|---|---|---|
{rows}

{verdict(result["rows"])} The second row is `bench/launch_floor.py`: sudo, the interpreter, two chains verified by libcrypto
in processes of their own, PAM's session, the payload and two lines on disk, without any of the checks, decisions, records and
watching that a launch is about.

## Where the time goes

One launch with a proxy, {sum(took for _, took in SPENT):.0f} ms with the writing down of these times, with real-time priority on two cores:

| what happens | ms |
|---|---|
{spent}

From the first fork to the last verifier's answer both cores are at work all the time, so that what is saved there counts half; behind
that one thing waits for the other. A launch has 7 700 page faults where the second row has 3 540 and the floor 1 370, of 2 µs each on
that machine, and of 3 µs for a page that was shared since a fork: 8 ms of processor time for ten processes instead of five.

## What was tried

| what | ms less | |
|---|---|---|
{tried}

What is beyond the second row is spread over all of that: 120 of gridwarden's modules at a tenth of a millisecond each, and processes
that are there so that nobody's bytes are read with another's rights, or root's. To read the credentials earlier would spare
nothing: when they have been read the verifiers are just ready for them. Not tried is to fork the guard before the launcher has grown:
it would have to load what keeps the books when its launcher has been killed already."""
    return pages.page("launch", "What launching a payload costs", text.splitlines())
