"""Globus mapping files and identity sets: read in one way, or refused; an account that comes out can be one."""

from __future__ import annotations

import json

from gridwarden import pools
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import globus, globus_documents, globus_people, globus_remarks

EXPRESSION = "expression_identity_mapping#1.0.0"
PERSON = {"id": "00000000-0000-4444-8888-111111111111", "status": "used", "username": "anna@a.org", "email": "b"}
SEEDS = [
    json.dumps([{"DATA_TYPE": EXPRESSION, "mappings": [row]}]).encode() + b"\0" + json.dumps([PERSON]).encode()
    for row in (
        {"source": "{username}", "match": "(.*)@a\\.org", "output": "{0}"},
        {"source": "{email}/{id}", "match": "((a|aa)*b|c?)d.", "output": "x{0}{email}", "ignore_case": "true"},
        {"source": "a", "match": "a*", "output": "root", "literal": True},
    )
]


def one(data: bytes) -> None:
    mapping, _, identities = data.partition(b"\0")
    try:
        documents = globus_documents.parse(mapping, "map.json")
        globus_remarks.remarks(mapping, "map.json")
    except ConfigurationError:
        documents = globus_documents.parse(SEEDS[0].partition(b"\0")[0], "map.json")
    try:
        people = globus_people.parse(identities)
        mapped = globus.map_identities(documents, people, lambda *_: None)
    except Refused:
        return
    if mapped:
        assert pools.is_account_name(mapped.account)
        assert mapped.identity in [person.identity for person in people if person.counts]
