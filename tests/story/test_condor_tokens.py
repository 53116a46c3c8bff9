"""HTCondor 23.9 asks the mapping plugin about real tokens: whoever sends one runs as the account that they are lent."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gridwarden import chain
from gridwarden.mapper.token import verify_token
from tests import tokens
from tests.site import condor as site_condor
from tests.site.slurm import run_as, until
from tests.site_values import values_of
from tests.tokens import CMS, HERE, Key, claims, key_set, server_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBEXEC = Path("/usr/libexec/gridwarden")
CACHE = Path("/var/cache/condor-tokens")
TLS = Path("/etc/condor/tls")
CONDOR = f"""\
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, SCITOKENS, IDTOKENS
AUTH_SSL_SERVER_CERTFILE = {TLS}/host.pem
AUTH_SSL_SERVER_KEYFILE = {TLS}/host.key
AUTH_SSL_SERVER_CAFILE = {TLS}/host.pem
AUTH_SSL_CLIENT_CAFILE = {TLS}/host.pem
SSL_SKIP_HOST_CHECK = True
SCITOKENS_SERVER_AUDIENCE = {HERE}
SEC_SCITOKENS_CACHE = {CACHE}
SEC_SCITOKENS_PLUGIN_NAMES = gridwarden
SEC_SCITOKENS_PLUGIN_gridwarden_COMMAND = {LIBEXEC}/condor-token-map
CERTIFICATE_MAPFILE = /etc/condor/mapfile
CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = True
ALLOW_WRITE = *
SCHEDD_DEBUG = D_SECURITY:2
"""
MAPFILE = "SCITOKENS /.*/ PLUGIN:*\nFS /(.*)/ \\1\nIDTOKENS /(.*)/ \\1\n"
SITE = {
    "tokens": {
        "issuers": [
            {"issuer": CMS, "kind": "wlcg", "vo": "cms", "audiences": [HERE], "keys": "/etc/gridwarden/cms.jwks"}
        ],
        "idtokens": [{"trust_domain": "site.example", "endless": True}],
    },
    "policy": [
        {"issuer": CMS, "group": "/cms/banana", "refuse": "no bananas here"},
        {"issuer": CMS, "group": "/cms/production", "account": "cmsprod"},
        {"issuer": CMS, "group": "/cms", "pool": "cms"},
        {"issuer": "site.example", "subject": "anna@*", "pool": "atlas"},
    ],
}
ES = Key.new()
COMPLETED = 4  # JobStatus


@pytest.fixture(scope="module")
def pool() -> Iterator[SimpleNamespace]:
    """The pool, with a schedd that takes tokens of the CMS issuer and asks the plugin whose account they get."""
    TLS.mkdir()
    server_certificate(TLS / "host.pem", TLS / "host.key", "localhost")
    written = {
        Path("/etc/condor/config.d/90-tokens.config"): CONDOR,
        Path("/etc/condor/mapfile"): MAPFILE,
        Path("/etc/gridwarden/cms.jwks"): key_set(ES).decode(),
        Path("/etc/gridwarden/site.d/50-tokens.yaml"): json.dumps(SITE),
        Path("/etc/sudoers.d/condor"): f"condor ALL=(root) NOPASSWD: {LIBEXEC}/token-map --declined 100\n",
    }
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o440 if "sudoers" in str(path) else 0o644)
    passwords = Path("/etc/condor/passwords.d")
    passwords.mkdir(mode=0o700, exist_ok=True)
    (passwords / "POOL").write_bytes(os.urandom(64))
    (passwords / "POOL").chmod(0o600)
    believe_in_condor(ES)
    subprocess.run(["gridwarden", "hooks", "install"], check=True, capture_output=True)
    site_condor.start()
    yield SimpleNamespace(site=values_of())
    site_condor.stop()
    for path in (*written, Path("/etc/gridwarden/site.compiled")):
        path.unlink(missing_ok=True)
    for directory in (TLS, CACHE, passwords):
        shutil.rmtree(directory)


def believe_in_condor(key: Key) -> None:
    """Put an issuer's keys where libSciTokens keeps those that it has fetched; the site has no network."""
    directory = CACHE / "scitokens"
    directory.mkdir(parents=True)
    with sqlite3.connect(directory / "scitokens_cpp.sqllite") as database:
        database.execute("CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)")
        later = int(time.time()) + 86400
        keys = {"jwks": json.loads(key_set(key)), "expires": later, "next_update": later}
        database.execute("INSERT INTO keycache VALUES (?, ?)", (CMS, json.dumps(keys)))
    for path in (CACHE, directory, directory / "scitokens_cpp.sqllite"):
        shutil.chown(path, "condor", "condor")


def ask(token: bytes, method: str = "SCITOKENS") -> str:
    """Whom the schedd takes somebody with this token for; empty when it refuses them."""
    words = ["condor_ping", "-type", "schedd", "-verbose", "WRITE"]
    said = run_as("alice", "env", *with_token(token, method), *words).stdout
    mapped = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("Remote Mapping")]
    return mapped[0] if mapped else ""


def with_token(token: bytes, method: str = "SCITOKENS") -> list[str]:
    """What a tool of HTCondor's needs to see in its environment, to show the token as alice."""
    path = Path("/home/alice/token")
    path.write_bytes(token)
    shutil.chown(path, "alice", "alice")
    path.chmod(0o600)
    return [f"_condor_SEC_CLIENT_AUTHENTICATION_METHODS={method}", f"_condor_SCITOKENS_FILE={path}"]


def honest(**changed: object) -> bytes:
    return ES.sign(claims(scope="condor:/READ condor:/WRITE", **changed))


def last_record(pool: SimpleNamespace) -> dict[str, object]:
    return list(chain.read(pool.site.ledger))[-1].body


def gridwarden(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["gridwarden", *words], capture_output=True, text=True, check=False)


def test_somebody_with_a_token_becomes_the_account_that_they_are_lent(pool: SimpleNamespace) -> None:
    account = ask(honest(wlcg__groups=["/cms"])).removesuffix("@site.example")
    assert account.startswith("cms0")
    assert ask(honest(wlcg__groups=["/cms"])) == f"{account}@site.example"
    bodies = [line.body for line in chain.read(pool.site.ledger)]
    record = [body for body in bodies if (body["kind"], body.get("account")) == ("lease", account)][
        -1
    ]  # others had it before
    assert (record["scheme"], record["subject"]) == ("token", f"{CMS},{tokens.SUB}")
    assert (record["vo"], record["credential"]) == ("cms", "jti=b5c1f7")
    assert (pool.site.gridmapdir / account).stat().st_nlink == 2
    assert ask(honest(wlcg__groups=["/cms/production"])) == "cmsprod@site.example"


def test_their_job_runs_as_that_account(pool: SimpleNamespace) -> None:
    script = Path("/home/alice/job.sub")
    script.write_text(
        "executable = /usr/bin/id\narguments = -un\ntransfer_executable = false\noutput = out\nlog = log\nqueue\n"
    )
    words = with_token(honest(sub="job", wlcg__groups=["/cms"]))
    done = run_as("alice", "env", *words, "sh", "-c", f"cd /home/alice; condor_submit -terse -spool {script}")
    assert done.returncode == 0, done.stderr
    cluster = int(done.stdout.split(".")[0])
    until(
        "the job to end", lambda: site_condor.queue(cluster) and site_condor.queue(cluster)[0]["JobStatus"] == COMPLETED
    )
    (job,) = site_condor.queue(cluster)
    assert job["Owner"].startswith("cms0")
    assert (Path(job["Iwd"]) / "out").read_text().strip() == job["Owner"]
    assert (Path(job["Iwd"]) / "out").stat().st_uid == pwd.getpwnam(job["Owner"]).pw_uid
    # What was spooled stays in the queue until somebody fetches its output: other stories wait for that to be empty.
    subprocess.run(["condor_rm", str(cluster)], check=True, capture_output=True)
    until("the job to leave the queue", lambda: not site_condor.queue(cluster))


def test_a_banned_person_is_refused_at_the_next_connection(pool: SimpleNamespace) -> None:
    assert ask(honest(sub="eve", wlcg__groups=["/cms"]))
    assert gridwarden("ban", "add", "--issuer", CMS, "--subject", "eve", "--because", "stolen").returncode == 0
    assert ask(honest(sub="eve", wlcg__groups=["/cms"])) == ""
    assert last_record(pool)["reason"] == "banned"
    assert ask(honest(wlcg__groups=["/cms"]))


def test_a_rules_refusal_is_final_and_a_stranger_is_left_to_htcondor(pool: SimpleNamespace) -> None:
    assert ask(honest(wlcg__groups=["/cms/banana", "/cms"])) == ""
    assert last_record(pool)["reason"] == "policy-refused"
    assert ask(honest(wlcg__groups=["/other"])) == "scitokens@unmapped"
    assert last_record(pool)["reason"] == "policy-no-match"


def test_who_cannot_be_judged_is_not_left_to_htcondor(pool: SimpleNamespace) -> None:
    rule = Path("/etc/sudoers.d/condor")
    text = rule.read_text()
    rule.write_text("")
    try:
        assert ask(honest(wlcg__groups=["/other"])) == ""
    finally:
        rule.write_text(text)
    broken = Path("/etc/gridwarden/site.d/60-broken.yaml")
    broken.write_text("policy: 7\n")
    try:
        assert ask(honest(wlcg__groups=["/other"])) == ""
    finally:
        broken.unlink()


def test_a_change_of_the_policy_counts_at_the_next_connection(pool: SimpleNamespace) -> None:
    token = honest(sub="later", wlcg__groups=["/later"])
    assert ask(token) == "scitokens@unmapped"
    time.sleep(2.5)  # from then on a copy of site.yaml is kept
    assert ask(token) == "scitokens@unmapped"
    assert Path("/etc/gridwarden/site.compiled").exists()
    more = Path("/etc/gridwarden/site.d/60-more.yaml")
    more.write_text(json.dumps({"policy": [{"issuer": CMS, "group": "/later", "account": "cmsprod"}]}))
    try:
        assert ask(token) == "cmsprod@site.example"
    finally:
        more.unlink()


def test_what_condor_token_create_makes_is_believed(pool: SimpleNamespace, tmp_path: Path) -> None:
    words = ["condor_token_create", "-identity", "anna@site.example", "-authz", "READ", "-authz", "WRITE"]
    made = subprocess.run([*words, "-lifetime", "600"], capture_output=True, text=True, check=True).stdout.strip()
    token = tmp_path / "token"
    token.write_text(made + "\n")
    token.chmod(0o600)
    person = verify_token(token, pool.site)
    assert (person.scheme, person.subject) == ("idtoken", "site.example,anna@site.example")
    assert person.scopes == ("condor:/READ", "condor:/WRITE")
    assert person.credential.startswith("jti=")
    assert gridwarden("map", "--token", token).stdout.startswith("atlas0")
    endless = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert verify_token(endless.encode(), pool.site).not_after == 0


def test_arc_gets_the_account_of_whom_it_has_verified(pool: SimpleNamespace) -> None:
    variables = {
        "BEARER_TOKEN_0_ISSUER": CMS,
        "BEARER_TOKEN_0_SUBJECT": "arc",
        "BEARER_TOKEN_0_AUDIENCE_0": HERE,
        "BEARER_TOKEN_0_GROUP_0": "/cms",
        "BEARER_TOKEN_0_CLAIM_wlcg.ver_0": "1.0",
    }
    command = [LIBEXEC / "arc-token-map"]
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert f"{done.stdout.strip()}@site.example" == ask(honest(sub="arc", wlcg__groups=["/cms"]))


def test_a_token_in_a_file_is_mapped_to_the_same_lease_as_its_claims(pool: SimpleNamespace, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(honest(sub="file", wlcg__groups=["/cms"]))
    token.chmod(0o600)
    done = gridwarden("map", "--token", token, "--format", "json")
    (row,) = json.loads(done.stdout)
    assert (row["scheme"], row["subject"]) == ("token", f"{CMS},file")
    assert ask(token.read_bytes()) == f"{row['account']}@site.example"
    assert subprocess.run(
        [LIBEXEC / "token-map", "--token", token], capture_output=True, text=True, check=True
    ).stdout == (f"{row['account']}\n")
    token.write_bytes(ES.sign(claims(aud="https://elsewhere.example.org")))
    done = gridwarden("map", "--token", token)
    assert (done.returncode, done.stdout) == (77, "")
    assert "credential-audience" in done.stderr
