"""Globus identities and mapping documents, made for a test."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

from gridwarden.mapper import globus_documents, globus_people

EXAMPLES = json.loads((Path(__file__).parent / "data" / "globus-examples.json").read_text())
EXPRESSION = "expression_identity_mapping#1.0.0"
EXTERNAL = "external_identity_mapping#1.0.0"


def one(username: str = "anna@example.org", number: int = 1, **properties: object) -> dict[str, object]:
    """An identity resource as Globus Auth has it."""
    return {"id": str(UUID(int=number)), "username": username, "status": "used", **properties}


def people(*identities: object) -> tuple[globus_people.Person, ...]:
    return globus_people.parse(json.dumps(identities).encode())


def row(match: str, output: str = "{0}", source: str = "{username}", **flags: object) -> dict[str, object]:
    return {"source": source, "match": match, "output": output, **flags}


def document(*rows: dict[str, object]) -> dict[str, object]:
    return {"DATA_TYPE": EXPRESSION, "mappings": list(rows)}


def program(*command: object) -> dict[str, object]:
    return {"DATA_TYPE": EXTERNAL, "command": [str(word) for word in command]}


def documents(*values: object) -> tuple[object, ...]:
    return globus_documents.parse(json.dumps(values).encode(), "map.json")
