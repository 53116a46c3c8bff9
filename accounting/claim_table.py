"""The table of what logs of other programs claim, as SQLAlchemy Core sees it; a part of ``schema``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Text, text

Name = String(128)


def claims_in(metadata: MetaData) -> Table:
    """Declare the table among the others."""

    def some(name: str, *columns: str, where: str) -> Index:
        return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))

    return Table(
        "claims",
        metadata,
        Column("digest", Name, primary_key=True, comment="SHA-256 of all that the line says"),
        Column("log", Name, nullable=False, comment="lcmaps, glexec, blah or htcondor-ce"),
        Column("what", Name, nullable=False, comment="mapping, job, or of a session its start, name or end"),
        Column("node", Name, nullable=False, comment="where it was logged"),
        Column("time", BigInteger, nullable=False),
        Column("account", Name, nullable=False, comment="or a uid that no account had where the log was imported"),
        Column("scheme", Name, nullable=False),
        Column("subject", Text, nullable=False),
        Column("fqan", Text, nullable=False),
        Column("vo", Text, nullable=False),
        Column("session", Name, nullable=False, comment="of lines that belong together"),
        Column("pid", BigInteger),
        Column("batch", Name, nullable=False, comment="empty where the line does not say of which batch system"),
        Column("job", Name, nullable=False),
        Column("until", BigInteger),
        Column("place", Text, nullable=False, comment="file and line where it was seen first"),
        some("claims_by_account", "account", "time", where="what = 'mapping'"),
        some("claims_by_time", "time", where="what = 'mapping'"),
        some("claims_by_job", "job", where="what = 'job'"),
        some("claims_of_starts", "time", where="what = 'start'"),
        some("claims_by_session", "session", "node", "time", where="session <> ''"),
        comment="what logs of other programs say of who was behind an account: never more than declared",
    )
