"""The mapping plugin's exit codes, which decide whether somebody else may map whom it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from gridwarden import chain, install
from gridwarden.hooks import install as hooks
from gridwarden.load_settings import load
from tests.payload import wait_until
from tests.tokens import CMS, HERE, SUB, Key, claims, key_set

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="installs programs that root would run")
REJECTED, DECLINED = 77, 1
ISSUER, SUBJECT = "BEARER_TOKEN_0_ISSUER", "BEARER_TOKEN_0_SUBJECT"
ES = Key.new()


@pytest.fixture
def cell():
    """A site all of whose people are refused, and the plugin as `hooks install` writes it."""
    with TemporaryDirectory(prefix="gridwarden-test-") as name:
        base = Path(name)
        (base / "keys").write_bytes(key_set(ES))
        (base / "gridmapdir").mkdir()
        site = {
            "site": "EXAMPLE",
            "pools": ["cms"],
            "policy": [
                {"issuer": CMS, "group": "/cms/banana", "refuse": "no bananas here"},
                {"issuer": CMS, "group": "/cms", "pool": "cms"},
            ],
            "gridmapdir": str(base / "gridmapdir"),
            "bans": [str(base / "bans")],
            "ban_lists": [str(base / "ban-list")],
            "directories": {"state": str(base / "state"), "runtime": str(base / "run")},
            "holders_group": "daemon",
            "slurm": {"cluster": "site"},
            "tokens": {"issuers": [{"issuer": CMS, "vo": "cms", "audiences": [HERE], "keys": str(base / "keys")}]},
        }
        config = base / "site.yaml"
        config.write_text(json.dumps(site))
        settings = load(config)
        install.install(settings, base / "node", base / "none" / "tmpfiles", dry_run=False)
        (base / "libexec").mkdir()
        hooks.write(hooks.plan(base / "libexec", base / "slurm", base / "bin"))
        yield SimpleNamespace(base=base, site=site, config=config, ledger=settings.ledger_directory)


def run(cell, presented: bytes | None = b"", *words: object, program: str = "token-map", **environment: str):
    """The plugin's end; without `presented` its standard input stays open and empty, as ARC leaves it."""
    command = [cell.base / "libexec" / program, *map(str, words), "--config", cell.config]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False, env=environment
    )
    if presented is None:
        started.wait(60)
    output, error = started.communicate(presented, 60)
    assert output == b""
    return SimpleNamespace(returncode=started.returncode, stderr=error.decode())


def htcondor(cell, **changed: object):
    """As HTCondor 23.9.6 calls it; the variables that a sudo rule may let through stand beside the payload."""
    payload = claims(**changed)
    variables = {"BEARER_TOKEN_0_ISSUER": str(payload.get("iss")), "BEARER_TOKEN_0_SUBJECT": str(payload.get("sub"))}
    return run(cell, json.dumps(payload).encode(), **variables)


def arc(**changed: str) -> dict[str, str]:
    """As ARC 7.0.0 sets it for a WLCG token: text only, each claim by its name too."""
    return {
        "X509_SUBJECT_NAME": "",
        "BEARER_TOKEN_0_SUBJECT": SUB,
        "BEARER_TOKEN_0_ISSUER": CMS,
        "BEARER_TOKEN_0_AUDIENCE_0": HERE,
        "BEARER_TOKEN_0_SCOPE_0": "compute.create",
        "BEARER_TOKEN_0_SCOPE_1": "compute.read",
        "BEARER_TOKEN_0_GROUP_0": "/other",
        "BEARER_TOKEN_0_CLAIM_wlcg.ver_0": "1.0",
        "BEARER_TOKEN_0_CLAIM_jti_0": "b5c1f7",
        "BEARER_TOKEN_0_CLAIM_sub_0": SUB,
        **changed,
    }


def last_record(cell) -> dict[str, object]:
    return list(chain.read(cell.ledger))[-1].body


def test_who_matches_no_rule_is_left_to_others_unless_the_site_says_no(cell):
    assert htcondor(cell, wlcg__groups=["/other"]).returncode == DECLINED
    assert last_record(cell)["reason"] == "policy-no-match"
    cell.site["tokens"]["unmatched"] = "reject"
    cell.config.write_text(json.dumps(cell.site))
    assert htcondor(cell, wlcg__groups=["/other"]).returncode == REJECTED


def test_an_issuer_that_is_not_the_sites_is_left_to_others(cell):
    assert htcondor(cell, iss="https://other.example.org/").returncode == DECLINED
    assert last_record(cell)["reason"] == "credential-untrusted"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"wlcg__groups": ["/cms/banana"]}, "policy-refused"),
        ({"exp": 5}, "credential-expired"),
        ({"aud": "https://other.example.org"}, "credential-audience"),
        ({"sub": ""}, "credential-malformed"),
        ({"wlcg__groups": ["/cms"]}, "pool-full"),  # the pool has no accounts here
    ],
)
def test_who_is_refused_is_left_to_nobody(cell, changed, reason):
    done = htcondor(cell, **changed)
    assert done.returncode == REJECTED
    assert f"gridwarden: {reason}: " in done.stderr
    record = last_record(cell)
    assert (record["kind"], record["reason"], record["command"]) == ("refused", reason, "plugin")


def ban(cell, *words):
    program = "import sys; from gridwarden.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--config", str(cell.config), "ban", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_ban_is_left_to_nobody(cell):
    assert ban(cell, "add", "--issuer", CMS, "--subject", SUB, "--because", "stolen").stderr == ""
    assert htcondor(cell, wlcg__groups=["/other"]).returncode == REJECTED
    assert last_record(cell)["reason"] == "banned"


@pytest.mark.parametrize("whom", [["--issuer", "https://other.example.org/"], ["--subject", SUB], ["--jti", "b5c1f7"]])
def test_a_ban_of_an_issuer_that_is_no_longer_the_sites_is_left_to_nobody(cell, whom):
    ban(cell, "add", *whom, "--because", "stolen")
    assert htcondor(cell, iss="https://other.example.org/", jti="b5c1f7").returncode == REJECTED
    assert last_record(cell)["reason"] == "banned"
    assert htcondor(cell, iss="https://third.example.org/", sub="x", jti="y").returncode == DECLINED


def test_whoever_bans_or_asks_about_nobody_by_a_slip_is_told(cell):
    for slip in (CMS.rstrip("/"), CMS.upper()):
        assert f"the nearest is {CMS}" in ban(cell, "add", "--issuer", slip, "--because", "stolen").stderr
        assert f"the nearest is {CMS}" in ban(cell, "check", SUB, "--issuer", slip).stderr
    ban(cell, "add", "--issuer", CMS, "--subject", SUB, "--because", "stolen")
    assert ban(cell, "check", f"{CMS},{SUB}").returncode == REJECTED
    without_issuer = ban(cell, "check", SUB)
    assert without_issuer.returncode == 0
    assert "ISSUER,SUB" in without_issuer.stderr


@pytest.mark.parametrize(
    "presented",
    [
        *[b"", b"{}", b"[]", b"\xff", b'{"iss": "a", "iss": "b"}', b"{" * 5000, b" " * 70_000],
        *[b'{"iss": "\\ud800"}', b'{"exp": %s}' % (b"9" * 400), b'{"exp": 1e400}'],
    ],
)
def test_what_is_no_payload_is_never_left_to_others_by_accident(cell, presented):
    done = run(cell, presented)
    assert done.returncode == (DECLINED if presented == b"{}" else REJECTED)  # {}: no issuer of ours
    assert last_record(cell)["reason"] == ("credential-untrusted" if presented == b"{}" else "credential-malformed")


def test_claims_and_variables_that_disagree_are_refused(cell):
    payload = json.dumps(claims(wlcg__groups=["/other"])).encode()
    assert run(cell, payload, **{ISSUER: "https://other.example.org/"}).returncode == REJECTED
    assert run(cell, payload, **{SUBJECT: "root"}).returncode == REJECTED
    assert run(cell, payload, **{SUBJECT: SUB}).returncode == DECLINED


def test_a_fault_of_the_site_or_of_ours_is_no_reason_to_ask_others(cell):
    codes = [["--declined", code] for code in ("x", "0", "256", "-1", "²")]
    for words in (["--nonsense"], ["--token"], *codes):
        command = [cell.base / "libexec" / "token-map", *words]
        assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 2
    (cell.base / "bans").unlink()
    assert htcondor(cell, wlcg__groups=["/other"]).returncode == 78
    cell.config.write_text("policy: 7\n")
    assert htcondor(cell, wlcg__groups=["/other"]).returncode == 78
    cell.config.unlink()
    assert htcondor(cell).returncode == 78
    program = cell.base / "libexec" / "token-map"
    program.write_text(program.read_text().replace("hooks.htcondor.plugin", "hooks.htcondor.lost"))
    done = run(cell, b"{}")
    assert (done.returncode, "ModuleNotFoundError" in done.stderr) == (70, True)


def test_sudo_that_may_not_is_no_reason_to_ask_others(cell):
    """sudo ends with 1, which to HTCondor would mean: somebody else may map them."""
    text = (cell.base / "libexec" / "condor-token-map").read_text()
    sudo = cell.base / "sudo"
    script = cell.base / "script"
    script.write_text(text.replace("/usr/bin/sudo", str(sudo)))
    for ending, code in ((1, REJECTED), (100, DECLINED), (77, 77), (0, 0), (127, 127)):
        sudo.write_text(f"#!/bin/sh\nexit {ending}\n")
        sudo.chmod(0o755)
        assert subprocess.run(["sh", script], check=False).returncode == code


def test_the_documented_sudo_rule_allows_what_the_plugin_asks_for_and_no_other_arguments(cell):
    """With others condor could name another site.yaml of root's."""
    page = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text()
    (allowed,) = [line.partition("NOPASSWD: ")[2] for line in page.splitlines() if "NOPASSWD: " in line]
    text = (cell.base / "libexec" / "condor-token-map").read_text()
    (asked,) = [line.partition("sudo -n ")[2] for line in text.splitlines() if "sudo -n " in line]
    assert allowed == asked.replace("'", "").replace(str(cell.base / "libexec"), "/usr/libexec/gridwarden")
    assert " " in allowed  # sudoers(5): a command without arguments stands for any


def test_a_python_that_cannot_begin_is_no_reason_for_arc_to_ask_others(cell):
    """It ends with 1, which to ARC would mean: somebody else may map them."""
    program = cell.base / "libexec" / "token-map"
    first, rest = program.read_text().split("\n", 1)
    program.write_text(f"{first.removesuffix(' -ISB')} -SB\n{rest}")  # without -I Python looks where it is told to
    started = {
        name: run(cell, b"", program=name, PYTHONHOME="/none").returncode for name in ("token-map", "arc-token-map")
    }
    assert started == {"token-map": DECLINED, "arc-token-map": REJECTED}


def test_arcs_variables_say_the_same_as_the_payload(cell):
    started = time.monotonic()
    done = run(cell, None, program="arc-token-map", **arc())
    assert (done.returncode, time.monotonic() - started < 20) == (DECLINED, True)
    record = last_record(cell)
    assert (record["scheme"], record["subject"], record["vo"]) == ("token", f"{CMS},{SUB}", "cms")
    banana = {**arc(), "BEARER_TOKEN_0_GROUP_1": "/cms/banana"}
    assert run(cell, None, program="arc-token-map", **banana).returncode == REJECTED
    assert last_record(cell)["reason"] == "policy-refused"


@pytest.mark.parametrize(
    "changed",
    [
        {"BEARER_TOKEN_1_SUBJECT": "anna"},
        {"BEARER_TOKEN_0_AUDIENCE_0": "https://other.example.org"},
        {"BEARER_TOKEN_0_SUBJECT": "a\nb"},
        {"BEARER_TOKEN_0_CLAIM_wlcg.ver_0": ""},
        {"BEARER_TOKEN_0_GROUP_0": "cms"},
    ],
)
def test_arcs_variables_that_are_no_clear_claims_are_refused(cell, changed):
    assert run(cell, None, program="arc-token-map", **arc(**changed)).returncode == REJECTED


def test_a_caller_that_never_ends_its_input_waits_for_a_stated_time_only(cell):
    done = run(cell, None)
    assert done.returncode == 75
    assert "within 5.0 s" in done.stderr
    assert "gridwarden: ARC calls arc-token-map" in done.stderr


def test_a_token_is_verified_before_it_is_mapped(cell):
    token = cell.base / "token"
    token.touch(mode=0o600)
    for made, code, reason in (
        (ES.sign(claims(wlcg__groups=["/other"])), DECLINED, "policy-no-match"),
        (Key.new().sign(claims()), REJECTED, "credential-untrusted"),
        (ES.sign(claims(iss="https://other.example.org/")), REJECTED, "credential-untrusted"),
    ):
        token.write_bytes(made)
        assert run(cell, b"", "--token", token).returncode == code
        assert last_record(cell)["reason"] == reason
    assert run(cell, b"", "--token", cell.base / "none").returncode == REJECTED
    assert run(cell, b"", "--token", token, "--declined", "100").returncode == REJECTED


def test_the_code_that_declines_is_the_callers_choice(cell):
    payload = json.dumps(claims(wlcg__groups=["/other"])).encode()
    assert run(cell, payload, "--declined", 100).returncode == 100


def loaded(cell) -> set[str]:
    """What an interpreter loads from its start to the answer, for claims that the policy decides on."""
    program = cell.base / "program"
    program.write_text(
        f"""
import sys
bare = set(sys.modules)
sys.path += {hooks.libraries()!r}
from gridwarden.hooks.htcondor.plugin import main
code = main(["--config", {str(cell.config)!r}])
print("\\n".join(sorted(set(sys.modules) - bare)))
sys.exit(code)
"""
    )
    payload = json.dumps(claims(**{"wlcg.groups": ["/cms/banana"]})).encode()
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-ISB", program], input=payload, capture_output=True, check=False
    )
    assert done.returncode == REJECTED, done.stderr
    return set(done.stdout.decode().split())


LOADED = """
become child contexts errors holders hooks hooks.htcondor hooks.htcondor.plugin ledger locks mapper mapper.accepted mapper.accounts mapper.ban
mapper.ban_list mapper.bans mapper.child mapper.claims mapper.credential_file mapper.durable mapper.encoding mapper.globus_values
mapper.gridmapdir mapper.identity mapper.job_groups mapper.lease mapper.linking mapper.map_files mapper.mapping mapper.names mapper.naming
mapper.own_directories mapper.own_files mapper.pem mapper.pilot_values mapper.policy mapper.publishing mapper.readied mapper.rule_index
mapper.rules mapper.site mapper.site_cache mapper.spelling mapper.strict_json mapper.surroundings mapper.token mapper.token_claims
mapper.token_request mapper.token_values mapper.verify mapper.verifying passing patterns pools reasons records setting_files sha256
syslog_line tab_file trusted values
"""
# Slow to load, and of no use for claims; json, re, pathlib and urllib.parse are what they and their rules need.
HEAVY = {
    "asyncio",
    "click",
    "ctypes",
    "datetime",
    "inspect",
    "logging",
    "pydantic",
    "socket",
    "ssl",
    "subprocess",
    "traceback",
    "yaml",
}


def test_a_decision_on_claims_loads_exactly_what_its_budget_pays_for(cell):
    compiled = cell.config.with_suffix(".compiled")  # made of files that have been as they are for a while
    wait_until(lambda: loaded(cell) and compiled.exists(), "the configuration was never compiled")
    found = loaded(cell)
    own = {name.removeprefix("gridwarden.") for name in found if name.startswith("gridwarden.")}
    assert own == set(LOADED.split())
    assert {name.partition(".")[0] for name in found} & HEAVY == set()
