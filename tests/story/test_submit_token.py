"""Submitting with a token: the same mapping, the same records, the same refusals as with a proxy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain
from tests.tokens import CMS, HERE, Key, claims, key_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

KEY = Key.new()
SITE = {
    "tokens": {
        "issuers": [
            {"issuer": CMS, "kind": "wlcg", "vo": "cms", "audiences": [HERE], "keys": "/etc/gridwarden/submit.jwks"}
        ]
    },
    "policy": [
        {"dn": "*", "issuer": CMS, "group": "/cms", "account": "cmsprod"},
        {"issuer": CMS, "group": "/cms", "pool": "cms"},
    ],
}


@pytest.fixture
def token(tmp_path: Path) -> Iterator[Path]:
    """Somebody's token, at a site that believes its issuer."""
    written = {
        Path("/etc/gridwarden/submit.jwks"): key_set(KEY).decode(),
        Path("/etc/gridwarden/site.d/50-submit.yaml"): json.dumps(SITE),
    }
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    token = tmp_path / "token"
    token.write_bytes(KEY.sign(claims(sub="submitter", wlcg__groups=["/cms"])))
    token.chmod(0o600)
    yield token
    for path in written:
        path.unlink()


def submit(*words: object) -> subprocess.CompletedProcess[str]:
    command = ["gridwarden", "submit", "slurm", *map(str, words)]
    return subprocess.run(command, input="#!/bin/sh\ntrue\n", capture_output=True, text=True, check=False)


def test_a_job_submitted_with_a_token_runs_as_its_owner_and_the_records_name_them(
    slurm: ModuleType, token: Path
) -> None:
    done = submit("--token", token)
    assert done.returncode == 0, done.stderr
    slurm.wait(int(done.stdout))
    mapped = subprocess.run(["gridwarden", "map", "--token", token], capture_output=True, text=True, check=True)
    assert slurm.accounted(int(done.stdout))["user"] == mapped.stdout.strip()
    starts = [line.body for line in chain.read("/var/lib/gridwarden/ledger") if line.body["kind"] == "job_start"]
    (start,) = [body for body in starts if body["job"] == done.stdout.strip()]
    assert (start["scheme"], start["subject"]) == ("token", f"{CMS},submitter")


def test_a_token_and_a_proxy_together_are_one_person(slurm: ModuleType, people: SimpleNamespace, token: Path) -> None:
    done = submit("--proxy", people.anna.proxy, "--token", token)
    assert done.returncode == 0, done.stderr
    slurm.wait(int(done.stdout))
    assert slurm.accounted(int(done.stdout))["user"] == "cmsprod"


def test_a_token_for_somebody_else_submits_nothing(slurm: ModuleType, people: SimpleNamespace, token: Path) -> None:
    token.write_bytes(KEY.sign(claims(sub="submitter", aud="https://elsewhere.example.org")))
    for words in (["--token", token], ["--proxy", people.anna.proxy, "--token", token]):
        done = submit(*words)
        assert (done.returncode, done.stdout) == (77, "")
        assert "credential-audience" in done.stderr


def test_nothing_is_submitted_for_nobody(slurm: ModuleType) -> None:
    assert submit().returncode == 2
