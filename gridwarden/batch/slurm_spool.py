"""Where slurmd keeps its state: SlurmdSpoolDir of slurm.conf(5).

The first ``%h`` in it is the name of the host that slurmd runs on, up to its first dot, and the first ``%n`` that of
its node (read in the source of 26.05).
"""

from __future__ import annotations

import os


def on_this_host(spool: str) -> str:
    """``spool`` with this host's name."""
    return spool.replace("%h", os.uname().nodename.partition(".")[0], 1)


def of_node(spool: str, node: str) -> str:
    """The spool directory of the slurmd of ``node``, which runs on this machine."""
    return on_this_host(spool).replace("%n", node, 1)


def directories(spool: str) -> dict[str, str]:
    """The spool directory of each slurmd of this machine, by its node's name; "" where the path does not say it.

    Raises OSError.
    """
    before, pattern, after = on_this_host(spool).partition("%n")
    if not pattern:
        return {"": before}
    parent, prefix = os.path.split(before)
    suffix, slash, below = after.partition("/")
    found = {}
    for name in os.listdir(parent):
        node = name[len(prefix) : len(name) - len(suffix)]
        if node and name == prefix + node + suffix:
            found[node] = f"{parent}/{name}{slash}{below}"
    return {node: path for node, path in found.items() if os.path.isdir(path)}
