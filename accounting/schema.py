"""The tables of the store, as SQLAlchemy Core sees them; ``migrations`` makes them.

Times are microseconds since the epoch, UTC; CPU times are microseconds; both are integers.  What an index holds
is a ``Name``: no index of PostgreSQL takes a text of any length, and ledgers hold what their nodes' root wrote.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, MetaData, String, Table, Text, text

from gridwarden.accounting.claim_table import claims_in
from gridwarden.accounting.spans import CLASS, ONE_NODE

Name = String(128)
metadata = MetaData()


def _partial(name: str, *columns: str, where: str) -> Index:
    """Make an index of some rows."""
    named = [text(column) if column.startswith("(") else column for column in columns]
    return Index(name, *named, sqlite_where=text(where), postgresql_where=text(where))


positions = Table(
    "positions",
    metadata,
    # "ledger:ID" and the last sequence number collected, "slurm:CLUSTER" and an instant, or "file:" with the
    # SHA-256 of a file's first entry and the bytes of it that were read.
    Column("source", Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("head", Text, nullable=False, comment="the hash of the last line collected"),
    comment="how far each source has been collected",
)

records = Table(
    "records",
    metadata,
    Column("ledger", Name, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("digest", Text, nullable=False, comment="of the body as it was written"),
    Column("kind", Name),
    Column("time", BigInteger, nullable=False, comment="of the line before where it has none"),
    Column("node", Name),
    Column("cluster", Name),
    Column("account", Name),
    Column("lease", Name),
    Column("pid", BigInteger),
    Column("body", Text, comment="the whole record as JSON, as it was written; NULL where it cannot be believed"),
    Column("altered", BigInteger, comment="when its body was erased, or had its identities replaced"),
    Index("records_by_time", "kind", "time"),
    _partial("records_by_account", "account", "time", where="account IS NOT NULL"),
    _partial("records_by_lease", "lease", "time", where="kind = 'lease'"),
    _partial("records_by_pid", "pid", where="pid IS NOT NULL"),
    _partial("records_of_kills", "node", "time", where="kind = 'kill'"),
    comment="the lines of the ledgers",
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("ledger", Name, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False, comment="the job_start record"),
    Column("batch", Name, nullable=False),
    Column("cluster", Name, nullable=False),
    Column("node", Name, nullable=False),
    Column("job", Name, nullable=False),
    Column("restart", BigInteger, nullable=False),
    Column("account", Name, nullable=False),
    Column("lease", Name, nullable=False),
    Column("scheme", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("vo", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger),
    Column("ended_by", Text, nullable=False, comment="job_end, restart (of the node), or empty"),
    Column("held", Text, nullable=False, server_default="", comment="the account's lease when the end was recorded"),
    Index("job_runs_by_node", "node", text(f"({CLASS})"), "start"),
    Index("job_runs_by_start", text(f"({CLASS})"), "start"),
    _partial("job_runs_of_payloads", f"({CLASS})", "start", where="batch = 'payload'"),
    Index("job_runs_by_job", "job", "cluster"),
    Index("job_runs_by_account", "account", "start"),
    _partial("job_runs_open", "ledger", where='"end" IS NULL'),
    comment="what job_start and job_end records say together: one row a job, node and restart",
)

batch_jobs = Table(
    "batch_jobs",
    metadata,
    Column("batch", Name, primary_key=True),
    Column("cluster", Name, primary_key=True),
    Column("job", Name, primary_key=True),
    Column("submit", BigInteger, primary_key=True, autoincrement=False),
    Column("restart", BigInteger, primary_key=True, autoincrement=False),
    Column("account", Name, nullable=False),
    Column("uid", BigInteger),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("state", Text, nullable=False),
    Column("exit_code", Text, nullable=False),
    Column("user_cpu", BigInteger, nullable=False),
    Column("system_cpu", BigInteger, nullable=False),
    Column("total_cpu", BigInteger, nullable=False),
    Column("nodes", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("queue", Text, nullable=False, server_default=""),
    Column("group_name", Text, nullable=False, server_default="", comment="the Unix group"),
    Column("project", Text, nullable=False, server_default="", comment="who is charged for it"),
    Column("submit_host", Text, nullable=False, server_default=""),
    Column("scheme", Text, nullable=False, server_default=""),
    Column("subject", Text, nullable=False, server_default="", comment="what the record itself declares"),
    Column("fqan", Text, nullable=False, server_default=""),
    Column("vo", Text, nullable=False, server_default=""),
    Column("cores", BigInteger),
    Column("wall", BigInteger, comment="microseconds"),
    Column("memory", BigInteger, comment="the peak in bytes"),
    Column("fields", Text, nullable=False, server_default="", comment="a PBS record's own words"),
    Column("slot", Text, nullable=False, server_default="", comment="HTCondor's, of its last run"),
    Column(
        "node_class",
        Text,
        nullable=False,
        server_default="",
        comment="by accounting.node_classes, when it was collected",
    ),
    Index("batch_jobs_by_end", "end"),
    Index("batch_jobs_by_node", text(f"({ONE_NODE})"), text(f"({CLASS})"), "start"),
    Index("batch_jobs_by_start", text(f"({CLASS})"), "start"),
    Index("batch_jobs_by_job", "job"),
    Index("batch_jobs_by_account", "account", "start"),
    comment="jobs as the batch system's own accounting has them",
)

batch_steps = Table(
    "batch_steps",
    metadata,
    Column("batch", Name, primary_key=True),
    Column("cluster", Name, primary_key=True),
    Column("job", Name, primary_key=True),
    Column("submit", BigInteger, primary_key=True, autoincrement=False),
    Column("restart", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Name, primary_key=True),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("state", Text, nullable=False),
    Column("user_cpu", BigInteger, nullable=False),
    Column("system_cpu", BigInteger, nullable=False),
    Column("total_cpu", BigInteger, nullable=False),
    Column("nodes", Text, nullable=False),
    Column("slot", Text, nullable=False, server_default="", comment="HTCondor's"),
    Column("account", Name, nullable=False, server_default="", comment="HTCondor's; another's is no step of the job"),
    comment="the steps of batch_jobs",
)

processes = Table(
    "processes",
    metadata,
    Column("node", Name, primary_key=True),
    Column("pid", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("end", BigInteger, primary_key=True, autoincrement=False),
    Column("exact", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    Column("parent", BigInteger, nullable=False, comment="when it ended"),
    Column("uid", BigInteger, nullable=False),
    Column("gid", BigInteger, nullable=False),
    Column("command", Text, nullable=False),
    Column("user_cpu", BigInteger, nullable=False, comment="to a tick of the kernel"),
    Column("system_cpu", BigInteger, nullable=False),
    Column("status", BigInteger, nullable=False, comment="as wait(2) has it"),
    Column("cpu", BigInteger, comment="user and system together, as the scheduler counted it; NULL where not exact"),
    Column("threads", BigInteger),
    Column("boot", Text, nullable=False, server_default=""),
    Column("account", Text, nullable=False, server_default=""),
    Column("batch", Name, nullable=False, server_default=""),
    Column("cluster", Name, nullable=False, server_default=""),
    Column("job", Name, nullable=False, server_default=""),
    Column("known_by", Text, nullable=False, server_default="", comment="how its job is known"),
    Index("processes_by_parent", "node", "parent"),
    Index("processes_by_end", "end"),
    _partial("processes_by_job", "job", "batch", where="job <> ''"),
    # A row is found by its key, and kept nowhere else: half the bytes, and a third of the time, of a table with rowids.
    sqlite_with_rowid=False,
    comment="processes that have ended: exact 0 from process accounting, 1 from exit statistics",
)

imported_files = Table(
    "imported_files",
    metadata,
    Column("source", Name, primary_key=True, comment="as in positions"),
    Column("kind", Text, nullable=False),
    Column("path", String(512), nullable=False, comment="where it was seen last"),
    Column("size", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False, comment="nanoseconds since the epoch"),
    Column("entries", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("ignored", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    CheckConstraint("entries = records + quarantined + ignored", name="imported_files_add_up"),
    Index("imported_files_by_path", "path"),
    comment="what became of each line or ad of the batch systems' files",
)

faults = Table(
    "faults",
    metadata,
    Column("digest", Text, primary_key=True, comment="SHA-256 of the next three, a line each"),
    Column("source", Name, nullable=False),
    Column("place", Text, nullable=False, comment="file:line of a ledger, or the row of sacct itself"),
    Column("fault", Text, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Index("faults_by_source", "source"),
    comment="what could not be read or does not verify",
)

heads = Table(
    "heads",
    metadata,
    Column("node", Name, primary_key=True, comment="the host that syslog names, without its domain"),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", Name, primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("place", Text, nullable=False, comment="file:line"),
    Index("heads_by_time", "time"),
    comment="heads of ledgers that left their nodes in syslog: what root of a node cannot write anew",
)

ledger_nodes = Table(
    "ledger_nodes",
    metadata,
    Column("ledger", Name, primary_key=True),
    Column("node", Name, primary_key=True, comment="a node that it speaks of, or the host it was collected on"),
    Index("ledger_nodes_by_node", "node"),
    comment="whose ledger is which, without domains",
)

anchors = Table(
    "anchors",
    metadata,
    Column("ledger", Name, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    comment="the last line of each ledger that went for its age: the chain goes on from here",
)

claims = claims_in(metadata)
