"""HTCondor's ads and sacct's JSON: an entry is read or put aside with a reason."""

from __future__ import annotations

from pathlib import Path

from gridwarden.accounting import htcondor_history, sacct_json

DATA = Path(__file__).parent.parent / "data"
SEEDS = [
    (DATA / "htcondor-23.9/history.2.0").read_bytes(),
    (DATA / "htcondor-23.9/epochs").read_bytes()[:3900],
    *(text.encode() for text in list(sacct_json.documents([(DATA / "sacct-24.11.json").read_text("utf-8")]))[:2]),
    b'{"jobs": [{"job_id": 1}, {}], "errors": []}',
]


def one(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    readers = (htcondor_history.parse, sacct_json.Reader().parse, lambda text: list(sacct_json.documents([text])))
    for read in readers:
        try:
            read(text)
        except ValueError:
            pass
