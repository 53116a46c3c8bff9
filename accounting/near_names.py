"""What to say of a node of which nothing is known: a name that was mistyped, or is recorded with or without its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridwarden.accounting import spans

if TYPE_CHECKING:
    from gridwarden.accounting.past import Past
    from gridwarden.accounting.question import Question

MOST = 3
_KNOWN = f"""SELECT 1 FROM (SELECT node FROM job_runs WHERE node = :node LIMIT 1) AS runs
    UNION ALL SELECT 1 FROM (SELECT 1 FROM batch_jobs WHERE {spans.ONE_NODE} = :node LIMIT 1) AS jobs"""  # noqa: S608  our own
_ALL = "SELECT DISTINCT node FROM ledger_nodes"
_WITH_DOMAIN = "SELECT DISTINCT node FROM job_runs WHERE node >= :first AND node < :last"


def of_node(question: Question, past: Past) -> list[str]:
    """Return a note where the question's node is in no record of the store, with names that it may be; else nothing."""
    node = question.exact("node")
    if not isinstance(node, str) or past.rows(_KNOWN, {"node": node}):
        return []
    import difflib  # noqa: PLC0415  only for who has mistyped

    known = sorted(str(name) for (name,) in past.rows(_ALL, {}))
    if not known:
        return []
    longer = [str(name) for (name,) in past.rows(_WITH_DOMAIN, {"first": f"{node}.", "last": f"{node}/"})]
    shorter = [name for name in known if name == node.partition(".")[0].lower()]
    near = [*longer, *shorter, *difflib.get_close_matches(node.lower(), known, MOST)]
    named = [name for name in dict.fromkeys(near) if name != node][:MOST]
    if node in known and not named:
        return []
    return [f"no record of a job names a node {node!r}" + (f"; near it are {', '.join(named)}" if named else "")]
