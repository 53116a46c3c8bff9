"""A payload whose owner has tokens: it gets new ones while it runs, each verified and on record."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gridwarden import payloads
from tests.site import pilot, syslog
from tests.site.slurm import run_as
from tests.tokens import CMS, HERE, Key, claims, key_set

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, SimpleNamespace

KEY = Key.new()
SITE = {
    "tokens": {
        "issuers": [
            {"issuer": CMS, "kind": "wlcg", "vo": "cms", "audiences": [HERE], "keys": "/etc/gridwarden/pilot.jwks"}
        ]
    },
    "policy": [{"issuer": CMS, "group": "/cms", "pool": "cms"}, {"fqan": "/cms", "pool": "cms"}],
}
# Writes down each token that it reads, as long as it may.
READ = """
while [ ! -e /tmp/enough ]; do
    now=$(cat $BEARER_TOKEN_FILE) || echo unreadable
    [ "$now" = "$last" ] || echo "$now"
    last=$now
done
"""
SHORT = 3  # seconds that a token is good for


@pytest.fixture(autouse=True)
def _issuer() -> Iterator[None]:
    written = {
        Path("/etc/gridwarden/pilot.jwks"): key_set(KEY).decode(),
        Path("/etc/gridwarden/site.d/50-pilot-tokens.yaml"): json.dumps(SITE),
    }
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    yield
    for path in (*written, Path("/tmp/enough")):
        path.unlink(missing_ok=True)


def token(tmp_path: Path, jti: str, sub: str = "runner", name: str = "token") -> str:
    """A token of somebody's in the pilot's hands; its text."""
    made = tmp_path / "made"
    made.write_bytes(KEY.sign(claims(sub=sub, jti=jti, exp=int(time.time()) + SHORT, wlcg__groups=["/cms"])))
    pilot.give(made, name)
    return made.read_text()


def renew(name: str, file: str = "token", *more: str) -> subprocess.CompletedProcess[str]:
    words = ("--renew", "--name", name, "--pilot-proxy", str(pilot.home() / "bela.pem"), *more, "--token")
    return run_as(pilot.ACCOUNT, "setsid", "--wait", "gridwarden-exec", *words, str(pilot.home() / file))


def test_a_payload_outlives_three_tokens_each_of_which_is_on_record(slurm: ModuleType, tmp_path: Path) -> None:
    pilot.proxy(pilot.OWNER)
    tokens = [token(tmp_path, "first")]
    words = "gridwarden-exec --name long --pilot-proxy $HOME/bela.pem --token $HOME/token"
    job = slurm.submit(pilot.ACCOUNT, f"cd $(mktemp -d); chmod 711 .; exec {words} -- /bin/sh -c '{READ}'")
    seen = pilot.home() / f"slurm-{job}.out"

    def read() -> list[str]:
        return seen.read_text().split() if seen.exists() else []

    slurm.until("the payload to have its first token", lambda: read() == tokens)
    (start,) = pilot.records("payload_start", job=str(job))
    for jti in ("second", "third", "fourth"):
        tokens.append(token(tmp_path, jti))
        done = renew("long")
        assert done.returncode == 0, done.stderr
        slurm.until(f"the payload to have its {jti} token", lambda: len(read()) == len(tokens))
    time.sleep(SHORT)  # a token's life is what is waited for
    assert read() == tokens, "a token was read in part, or not at all"
    Path("/tmp/enough").touch()
    assert slurm.wait(job)["job_state"] == ["COMPLETED"]
    renewed = pilot.records("renewed", payload=start["payload"])
    assert [start["credential"], *(body["credential"] for body in renewed)] == [
        f"jti={jti}" for jti in ("first", "second", "third", "fourth")
    ]
    assert {body["subject"] for body in (start, *renewed)} == {f"{CMS},runner"}


def test_nobody_elses_token_and_none_of_another_payload_is_renewed(slurm: ModuleType, tmp_path: Path) -> None:
    pilot.proxy(pilot.OWNER)
    mine = token(tmp_path, "mine")
    words = "gridwarden-exec --name kept --pilot-proxy $HOME/bela.pem --token $HOME/token"
    job = slurm.submit(pilot.ACCOUNT, f"cd $(mktemp -d); chmod 711 .; exec {words} -- /bin/sh -c '{READ}'")
    seen = pilot.home() / f"slurm-{job}.out"
    slurm.until("the payload to have its token", lambda: seen.exists() and seen.read_text().split() == [mine])
    token(tmp_path, "other", "somebody-else", "other")
    done = renew("kept", "other")
    assert (done.returncode, "identity-changed" in done.stderr) == (203, True), done.stderr
    assert pilot.records("lease", subject=f"{CMS},somebody-else") == [], "a renewal that was refused took an account"
    token(tmp_path, "again", name="again")
    done = renew("unknown", "again")
    assert (done.returncode, "payload-unknown" in done.stderr) == (201, True), done.stderr
    assert seen.read_text().split() == [mine]
    Path("/tmp/enough").touch()
    slurm.wait(job)
    (start,) = pilot.records("payload_start", job=str(job))
    assert pilot.records("renewed", payload=start["payload"]) == []


def test_whoever_is_named_by_one_of_two_credentials_stands_behind_the_payload_and_only_they_can_renew(
    slurm: ModuleType, tmp_path: Path, people: SimpleNamespace
) -> None:
    pilot.proxy(pilot.OWNER)
    pilot.proxy("anna")
    mine, mallory = token(tmp_path, "mine"), f"{CMS},runner"
    words = "gridwarden-exec --name both --pilot-proxy $HOME/bela.pem --proxy $HOME/anna.pem --token $HOME/token"
    job = slurm.submit(pilot.ACCOUNT, f"cd $(mktemp -d); chmod 711 .; exec {words} -- /bin/sh -c '{READ}'")
    seen = pilot.home() / f"slurm-{job}.out"
    slurm.until("the payload to have its token", lambda: seen.exists() and seen.read_text().split() == [mine])
    (start,) = pilot.records("payload_start", job=str(job))
    owner, further = ("token", mallory, "cms"), ("x509", people.anna.subject, "cms")
    assert tuple(start[name] for name in ("scheme", "subject", "vo")) == owner, "the first rule is met by the token"
    assert tuple(start[f"also_{name}"] for name in ("scheme", "subject", "vo")) == further
    assert start["also_credential"]
    pilots = ("x509", people.bela.subject, "cms")
    assert tuple(start[f"pilot_{name}"] for name in ("scheme", "subject", "vo")) == pilots
    state = payloads.read("/run/gridwarden/payloads", start["payload"])
    for question in ([str(state.process)], ["--job", start["payload"]]):
        done = subprocess.run(["whoran", *question, "--format", "json"], capture_output=True, text=True, check=True)
        rows = json.loads(done.stdout)
        assert {row["identity"] for row in rows} == {mallory, people.anna.subject}, rows
        assert all(people.bela.subject in row["because"] for row in rows)
    token(tmp_path, "other", "somebody-else", "other")
    done = renew("both", "other")
    assert (done.returncode, "identity-changed" in done.stderr) == (203, True), done.stderr
    both = ("--proxy", str(pilot.home() / "anna.pem"))
    token(tmp_path, "again")
    done = renew("both", "token", *both)
    assert done.returncode == 0, done.stderr
    Path("/tmp/enough").touch()
    slurm.wait(job)
    renewed = {body["subject"] for body in pilot.records("renewed", payload=start["payload"])}
    assert renewed == {mallory, people.anna.subject}


@pytest.fixture
def _log_only() -> Iterator[None]:
    """The site in log-only mode, and back."""
    path = Path("/etc/gridwarden/site.d/60-log-only.yaml")
    install = ["gridwarden", "hooks", "install", "--glexec", "/usr/sbin/glexec"]
    path.write_text("pilot: {mode: log-only}\n")
    subprocess.run(install, check=True, capture_output=True)
    yield
    path.unlink()
    subprocess.run(install, check=True, capture_output=True)


@pytest.mark.usefixtures("_log_only")
def test_log_only_says_whom_both_credentials_name_and_which_pilot_showed_them(
    tmp_path: Path, people: SimpleNamespace
) -> None:
    token(tmp_path, "mine")
    words = ("--proxy", str(pilot.proxy("anna")), "--token", str(pilot.home() / "token"))
    done = pilot.launch(*words, "--", "/bin/true", owner=None, pilot=pilot.proxy(pilot.OWNER))
    assert done.returncode == 0, done
    (start,) = [line for line in syslog.lines() if "event=payload-start" in line][-1:]
    for field in (
        f" subject={CMS},runner ",
        f' also_subject="{people.anna.subject}" ',
        f' pilot_subject="{people.bela.subject}" ',
    ):
        assert field in start, start
