"""What the launcher decides without looking at anything: requests, callers, accounts, exit codes, its section of site.yaml."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from gridwarden import reasons
from gridwarden.errors import BadQuestion, ConfigurationError, Refused, Unavailable
from gridwarden.hooks.pilot import account, callers, entry, refusals, request
from gridwarden.mapper.identity import Identity
from gridwarden.mapper.pilot_values import Caller, PilotValues, from_pilot
from gridwarden.mapper.rules import Rule
from gridwarden.mapper.site import LeaseValues
from gridwarden.pilot_settings import Pilot
from gridwarden.settings import Settings

GLEXEC = {
    b"GLEXEC_CLIENT_CERT": b"/p/owner",
    b"GLEXEC_SOURCE_PROXY": b"/p/source",
    b"GLEXEC_TARGET_PROXY": b"/p/target",
    b"X509_USER_PROXY": b"/p/pilot",
    b"BEARER_TOKEN_FILE": b"/p/token",
    b"GLEXEC_ID": b"job 7\nforged",
}
PILOT = callers.Pilot("pilotcms", 2001, 2001, (2001, 65003, 3000), {})
ROBOT = Identity("x509", "/DC=org/CN=Robot", ("/cms", "/cms/Role=pilot"), "cms", "1/CN=CA", 0, limited=False)


def test_glexecs_variables_say_all_and_its_words_are_the_payloads() -> None:
    asked = request.read([b"glexec", b"/bin/echo", b"--proxy", b"x"], GLEXEC)
    assert asked.arguments == (b"/bin/echo", b"--proxy", b"x")
    assert (asked.proxy, asked.source_proxy, asked.target) == ("/p/owner", "/p/source", "/p/target")
    assert (asked.pilot_proxy, asked.pilot_token, asked.token) == ("/p/pilot", "/p/token", "")


def test_a_name_cannot_make_a_line_of_the_log() -> None:
    assert request.read([b"glexec", b"/bin/true"], GLEXEC).name == "job 7\\x0aforged"


def test_options_count_before_variables_and_end_where_the_payload_begins() -> None:
    words = [b"exec", b"--proxy=/q", b"--token", b"/t", b"--check", b"--", b"/bin/echo", b"--check", b"--"]
    asked = request.read(words, GLEXEC)
    assert (asked.proxy, asked.token, asked.check, asked.renew) == ("/q", "/t", True, False)
    assert asked.arguments == (b"/bin/echo", b"--check", b"--")


def test_a_path_keeps_its_bytes() -> None:
    asked = request.read([b"exec", b"--proxy", b"/p/\xff", b"/bin/true"], {})
    assert asked.proxy.encode("utf-8", "surrogateescape") == b"/p/\xff"


@pytest.mark.parametrize(
    "words",
    [
        [],
        [b"nobody", b"/bin/true"],
        [b"exec"],
        [b"exec", b"--"],
        [b"exec", b"--proxy"],
        [b"exec", b"-proxy", b"/p", b"/bin/true"],
        [b"exec", b"--check=yes", b"/bin/true"],
        [b"exec", b"--renew", b"/bin/true"],
        [b"glexec"],
    ],
)
def test_words_that_make_no_request_are_the_callers_mistake(words: list[bytes]) -> None:
    with pytest.raises(BadQuestion):
        request.read(words, GLEXEC)


def test_of_two_variables_of_one_name_the_first_counts_as_for_programs() -> None:
    assert callers.variables(b"A=1\0A=2\0nonsense\0B=\0=x\0") == {b"A": b"1", b"B": b"", b"": b"x"}


def test_a_pilot_is_listed_by_account_or_pool_and_nobody_else_is() -> None:
    by_account, by_pool = Caller(account="pilotcms"), Caller(pool="cms")
    assert callers.listed(PILOT, [by_pool, by_account]) == [by_account]
    pooled = callers.Pilot("cms017", 2117, 2117, (), {})
    assert callers.listed(pooled, [by_account, by_pool]) == [by_pool]
    for name in ("pilotcms2", "cms", "cmsprod", "root"):
        with pytest.raises(Refused, match=reasons.CALLER_NOT_LISTED):
            callers.listed(callers.Pilot(name, 2500, 2500, (), {}), [by_account, by_pool])


def test_the_first_entry_that_the_pilots_own_credential_meets_decides() -> None:
    wants = [Caller(account="pilotcms", rule=Rule(fqan=(fqan,)), payloads=n) for n, fqan in enumerate(("/a", "/cms"))]
    caller, own = callers.permitted(wants, PILOT, (ROBOT,))
    assert (caller.payloads, own) == (1, ROBOT)


def test_a_pilot_with_no_credential_or_another_one_is_refused() -> None:
    wants = [Caller(account="pilotcms", rule=Rule(fqan=("/atlas",)))]
    with pytest.raises(Refused, match=reasons.PILOT_CREDENTIAL_MISSING):
        callers.permitted(wants, PILOT, ())
    with pytest.raises(Refused, match=f"{reasons.PILOT_CREDENTIAL_NOT_ALLOWED}: pilotcms as /DC=org/CN=Robot: fqan"):
        callers.permitted(wants, PILOT, (ROBOT,))


def test_a_pilots_limited_proxy_counts_only_where_its_entry_says_so() -> None:
    for limited in (True, False):
        wants = [Caller(account="pilotcms", rule=Rule(fqan=("/cms",), limited=limited))]
        if limited:
            assert callers.permitted(wants, PILOT, (ROBOT._replace(limited=True),))[1]
        else:
            with pytest.raises(Refused, match=reasons.PILOT_CREDENTIAL_NOT_ALLOWED):
                callers.permitted(wants, PILOT, (ROBOT._replace(limited=True),))


def test_a_service_needs_no_credential() -> None:
    assert callers.permitted([Caller(account="ce", service=True)], PILOT, ()) == (Caller("ce", service=True), None)


def test_only_groups_in_the_sites_range_track_jobs() -> None:
    assert account.tracking(PILOT.groups, PilotValues(tracking_groups=(65000, 65049))) == [65003]
    assert account.tracking(PILOT.groups, PilotValues()) == []


@pytest.mark.parametrize(
    ("name", "uid", "gids", "reason"),
    [
        ("alice", 2011, (2011,), reasons.ACCOUNT_OUTSIDE_POOLS),
        ("cmsx1", 2011, (2011,), reasons.ACCOUNT_OUTSIDE_POOLS),
        ("cms001", 999, (2101,), reasons.UID_TOO_LOW),
        ("cms001", 0, (2101,), reasons.UID_TOO_LOW),
        ("cms001", 2101, (999,), reasons.GID_TOO_LOW),
        ("cms001", 2101, (2101, 0), reasons.GID_TOO_LOW),
        ("cms001", 2101, (2101, 6), reasons.GID_TOO_LOW),
    ],
)
def test_an_account_that_no_payload_may_have(name: str, uid: int, gids: tuple[int, ...], reason: str) -> None:
    site = SimpleNamespace(pools=("cms",), pilot=PilotValues(), leases=LeaseValues())
    with pytest.raises(Refused, match=reason):
        account.judge(name, uid, gids, site)
    account.judge("cms001", 2101, (2101, 3000), site)
    site.pilot = PilotValues(accounts=("alice",))
    account.judge("alice", 2011, (2011,), site)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadQuestion("what"), 201),
        (Refused(reasons.CREDENTIAL_EXPOSED, "x"), 201),
        (Refused(reasons.TERMINAL, "x"), 201),
        (Refused(reasons.PAM_SERVICE_MISSING, "x"), 202),
        (ConfigurationError("x"), 202),
        (Unavailable("x"), 202),
        (RuntimeError("x"), 202),
        (Refused(reasons.BANNED, "x"), 203),
        (Refused(reasons.POLICY_NO_MATCH, "x"), 203),
        (Refused(reasons.CREDENTIAL_EXPIRED, "x"), 203),
        (Refused(reasons.PROGRAM_NOT_EXECUTABLE, "x"), 126),
    ],
)
def test_the_exit_code_says_whose_turn_it_is(error: Exception, code: int) -> None:
    assert refusals.code_of(error) == code


def test_a_pilot_reads_no_more_than_a_sentence(capfd) -> None:
    refusals.tell(Refused(reasons.BANNED, "/DC=org/CN=Eve matches /DC=org/* (bans:7)"))
    refusals.tell(ConfigurationError("/etc/gridwarden/secret: is larger than 3 bytes"))
    refusals.tell(RuntimeError("inner \x1b[31mworkings"))
    told = capfd.readouterr().err
    assert told.splitlines() == [
        "gridwarden-exec: the identity is banned at this site (banned)",
        "gridwarden-exec: this site cannot run payloads now; its log says why",
        "gridwarden-exec: an unexpected fault; the site's log says which",
    ]


@pytest.mark.parametrize(("own", "shown"), [(0, 0), (1, 1), (200, 200), (201, 204), (202, 204), (204, 204), (255, 255)])
def test_a_payloads_code_is_not_taken_for_the_launchers(own: int, shown: int) -> None:
    assert refusals.end_as(own << 8, "") == shown


def test_a_process_that_could_not_become_its_owner_is_the_systems_fault() -> None:
    assert refusals.end_as(202 << 8, "its process did not become its owner") == 202


def test_a_payload_that_is_asked_to_end_cannot_say_that_the_launcher_failed() -> None:
    assert refusals.end_as(202 << 8, "ended by SIGTERM") == 204


@pytest.mark.parametrize("number", [15, 32, 33, 34, 64])
def test_a_signal_that_ended_the_payload_is_told_and_no_fault_of_ours_also_one_of_the_c_librarys_own(
    number: int,
) -> None:
    code = f"import sys; from gridwarden.hooks.pilot import refusals; sys.exit(refusals.end_as({number}, ''))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode in (-number, 128 + number)


def test_a_signal_that_ends_nobody_is_a_code() -> None:
    assert refusals.end_as(int(signal.SIGCHLD), "") == 128 + signal.SIGCHLD


def test_the_entry_can_be_read_at_one_sitting() -> None:
    assert len(entry.ENTRY.splitlines()) <= 40


def test_the_entry_looks_before_it_loads_anything_but_what_the_interpreter_itself_begins_with(tmp_path: Path) -> None:
    """Encodings are read from the library at every start of Python; all else that is there by then is frozen or built in."""
    text = entry.text(sys.executable, "/nowhere/package", [], Path("/nowhere/exec.modules"))
    look, _, _ = text.partition("    for path in")
    assert look != text
    show = "    for name, module in sorted(sys.modules.items()):\n        os.write(1, f'{name} {module.__spec__ and module.__spec__.origin}\\n'.encode())\nfinally:\n    pass\n"
    program = tmp_path / "program"  # with -c, newer interpreters load linecache
    program.write_text(look + show)
    done = subprocess.run([sys.executable, "-ISB", program], capture_output=True, text=True, check=True)
    loaded = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {"os", "sys"} <= loaded.keys()
    read = {name for name, origin in loaded.items() if origin not in ("frozen", "built-in", "None")}
    assert {name.partition(".")[0] for name in read} <= {"encodings"}, read


@pytest.mark.parametrize("mode", ["switch", "log-only"])
def test_a_pilots_author_is_told_every_option_without_becoming_anybody(mode: str) -> None:
    face = entry.faces(Path("/nowhere/exec"), Path("/bin"), [], mode)[Path("/bin/gridwarden-exec")]
    told = subprocess.run(["sh", "-c", face, "gridwarden-exec", "--help"], check=True, capture_output=True, text=True)
    options = [f"  --{name} " for name in (*request.OPTIONS, *request.FLAGS)]
    assert [option for option in options if option not in told.stdout] == []
    assert "GLEXEC_CLIENT_CERT" in told.stdout and told.stderr == ""


SITE = {"site": "X", "pools": ["cms"], "policy": [{"fqan": "/cms", "pool": "cms"}], "slurm": {"cluster": "x"}}


@pytest.mark.parametrize(
    ("pilot", "says"),
    [
        ({"callers": [{"account": "root", "fqan": "/cms"}]}, "not the name of an account"),
        ({"callers": [{"fqan": "/cms"}]}, "exactly one of account"),
        ({"callers": [{"account": "a", "unix_group": "b", "fqan": "/cms"}]}, "exactly one of account"),
        ({"callers": [{"account": "a"}]}, "or service: true"),
        ({"callers": [{"account": "a", "service": True, "fqan": "/cms"}]}, "leave service out"),
        ({"callers": [{"account": "a", "subject": "x"}]}, "without its issuer"),
        ({"callers": [{"pool": "atlas", "fqan": "/cms"}]}, "not one of pools"),
        ({"minimum_uid": 0}, "greater than or equal"),
        ({"programs": ["bin/*"]}, "must begin with /"),
        ({"preserve": ["LD_PRELOAD"]}, "obeyed by linkers"),
        ({"preserve": ["PYTHONPATH"]}, "obeyed by linkers"),
        ({"preserve": ["BASH_ENV"]}, "obeyed by linkers"),
        ({"preserve": ["A B"]}, "not the name of a variable"),
        ({"pam_service": "other"}, "other is never used"),
        ({"pam_service": "../x"}, "not the name of a PAM service"),
        ({"tracking_groups": "0-10"}, "among the system's own groups"),
        ({"tracking_groups": "65049-65000"}, "not a range of gids"),
        ({"environment_file": "here"}, "absolute path"),
        ({"outside_jobs": "no"}, "refuse"),
        ({"outside_jobs": "refuse", "mode": "log-only"}, "does not see jobs"),
    ],
)
def test_a_section_that_would_let_others_in_is_refused(pilot: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.of({**SITE, "pilot": pilot})


def test_the_section_reaches_the_launcher_whole() -> None:
    section = Settings.of(
        {
            **SITE,
            "pilot": {
                "callers": [{"account": "p", "fqan": "/cms", "payloads": 3}],
                "tracking_groups": "65000-65049",
                "outside_jobs": "refuse",
            },
        }
    ).pilot
    values = from_pilot(section)
    assert values.callers == (Caller(account="p", payloads=3, rule=Rule(fqan=("/cms",))),)
    assert values.tracking_groups == (65000, 65049)
    assert (values.outside_jobs, from_pilot(Pilot()).outside_jobs) == ("refuse", "allow")
    assert set(PilotValues._fields) == set(Pilot.model_fields)
