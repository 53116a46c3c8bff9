"""A reader of APEL's messages, by what APEL 2.5.0 accepts; nothing of it is gridwarden's, and neither PyPI nor Debian has APEL's own.

A message is a header and records, which lines of two percent signs separate; a line is a name, a colon and a value.  Of each
kind: all names that it may have, those that it must have, those that are numbers (apel/db/records/job.py, summary.py, record.py).
"""

from __future__ import annotations

JOB = [
    "Site",
    "SubmitHost",
    "MachineName",
    "Queue",
    "LocalJobId",
    "LocalUserId",
    "GlobalUserName",
    "FQAN",
    "VO",
    "VOGroup",
    "VORole",
    "WallDuration",
    "CpuDuration",
    "Processors",
    "NodeCount",
    "StartTime",
    "EndTime",
    "InfrastructureDescription",
    "InfrastructureType",
    "MemoryReal",
    "MemoryVirtual",
    "ServiceLevelType",
    "ServiceLevel",
]
SUMMARY = [
    "Site",
    "Month",
    "Year",
    "GlobalUserName",
    "VO",
    "VOGroup",
    "VORole",
    "SubmitHost",
    "InfrastructureType",
    "InfrastructureDescription",
    "ServiceLevelType",
    "ServiceLevel",
    "NodeCount",
    "Processors",
    "EarliestEndTime",
    "LatestEndTime",
    "WallDuration",
    "CpuDuration",
    "NumberOfJobs",
]
JOB_NEEDS = {"Site", "LocalJobId", "WallDuration", "CpuDuration", "StartTime", "EndTime"}
SUMMARY_NEEDS = {"Site", "Month", "Year", "WallDuration", "CpuDuration", "NumberOfJobs"}
WHOLE = {
    "WallDuration",
    "CpuDuration",
    "Processors",
    "NodeCount",
    "StartTime",
    "EndTime",
    "MemoryReal",
    "MemoryVirtual",
    "Month",
    "Year",
    "NumberOfJobs",
    "EarliestEndTime",
    "LatestEndTime",
}
BENCHMARKS = {"si2k", "hepspec", "hepscore23"}
KINDS = {
    "APEL-individual-job-message: v0.3": (JOB, JOB_NEEDS, False),
    "APEL-individual-job-message: v0.4": (JOB, JOB_NEEDS, True),
    "APEL-summary-job-message: v0.2": (SUMMARY, SUMMARY_NEEDS, False),
    "APEL-summary-job-message: v0.4": (SUMMARY, SUMMARY_NEEDS, True),
}


def read(message: str) -> list[dict[str, str | int | float]]:
    """The records of a message, as APEL would load them; AssertionError for what it would refuse."""
    header, _, rest = message.partition("\n")
    names, needs, pairs = KINDS[header]
    found = []
    for text in rest.split("%%"):
        if text.strip():
            record = _record(text)
            assert set(record) <= set(names) - ({"ServiceLevelType"} if pairs else set()), record
            assert needs <= set(record), record
            found.append(_typed(record, pairs=pairs))
    return found


def _record(text: str) -> dict[str, str]:
    record: dict[str, str] = {}
    for line in text.strip().splitlines():
        name, value = (part.strip() for part in line.split(":", 1))
        assert name not in record, line
        record[name] = value
    return record


def _typed(record: dict[str, str], *, pairs: bool) -> dict[str, str | int | float]:
    typed: dict[str, str | int | float] = {
        name: int(value) if name in WHOLE else value for name, value in record.items()
    }
    level = record.get("ServiceLevel")
    if level is not None and pairs:
        assert level.startswith("{") and level.endswith("}")
        typed["ServiceLevelType"], _, level = level.strip("{}").partition(":")
    if level is not None:
        typed["ServiceLevel"] = float(level)
    assert ("ServiceLevel" in typed) == ("ServiceLevelType" in typed)
    assert str(typed.get("ServiceLevelType", "si2k")).lower() in BENCHMARKS
    if record.get("FQAN", "None") != "None":
        typed["VO"], typed["VOGroup"], typed["VORole"] = _of_fqan(record["FQAN"])
    assert typed.get("StartTime", 0) <= typed.get("EndTime", 0)
    assert typed.get("EarliestEndTime", 0) <= typed.get("LatestEndTime", 0)
    assert typed["WallDuration"] >= 0 and typed["CpuDuration"] >= 0
    return typed


def _of_fqan(fqan: str) -> tuple[str, str, str]:
    if not fqan.startswith("/"):
        return fqan, "None", "None"
    group = ""
    for part in filter(None, fqan.split(";", maxsplit=1)[0].split("/")):
        if part.lower().startswith("role="):
            return fqan.split("/")[1], group, part
        group += f"/{part}"
    return fqan.split("/")[1], group, "None"
