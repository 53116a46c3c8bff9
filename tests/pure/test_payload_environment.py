"""What of a pilot's environment reaches a payload, which is somebody else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gridwarden import pilot_settings, reasons, variables
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.hooks.pilot import environment

ANNA = SimpleNamespace(pw_name="cms017", pw_dir="/home/cms017", pw_shell="/bin/bash")
OBEYED = (
    b"LD_PRELOAD", b"LD_LIBRARY_PATH", b"LD_AUDIT", b"PYTHONPATH", b"PYTHONSTARTUP", b"PERL5LIB", b"PERL5OPT", b"RUBYOPT",
    b"BASH_ENV", b"ENV", b"IFS", b"SHELLOPTS", b"PS4", b"GCONV_PATH", b"LOCPATH", b"NLSPATH", b"GLIBC_TUNABLES",
    b"MALLOC_CHECK_", b"BASH_FUNC_ls%%",
)  # fmt: skip


def build(
    pilot: dict[bytes, bytes], preserve: tuple[str, ...] = (), site: dict[bytes, bytes] | None = None
) -> dict[bytes, bytes]:
    return environment.build(ANNA, site or {}, pilot, preserve, temporary="/tmp/own", proxy="/tmp/own/x509up")


def test_a_payload_gets_nothing_of_the_pilots_environment_by_itself() -> None:
    pilot = {b"PATH": b"/pilot/bin", b"PILOT_SECRET": b"s3cret", b"LANG": b"C", b"SUDO_USER": b"pilot", b"_": b"/x"}
    assert build(pilot) == {
        b"PATH": environment.PATH,
        b"HOME": b"/home/cms017",
        b"USER": b"cms017",
        b"LOGNAME": b"cms017",
        b"SHELL": b"/bin/bash",
        b"TMPDIR": b"/tmp/own",
        b"X509_USER_PROXY": b"/tmp/own/x509up",
    }


@pytest.mark.parametrize("name", OBEYED)
def test_no_variable_lets_the_pilot_run_its_own_code_as_somebody_else_even_if_listed(name: bytes) -> None:
    assert name not in build({name: b"/pilot/evil.so"}, (name.decode(),))


@pytest.mark.parametrize("name", OBEYED)
def test_a_site_that_lists_a_variable_which_never_passes_is_told_so(name: bytes) -> None:
    with pytest.raises(ValueError, match=r"obeyed by linkers|not the name of a variable"):
        pilot_settings.variable(name.decode())


def test_a_variable_that_only_begins_like_one_which_never_passes_may_be_listed() -> None:
    assert pilot_settings.variable("ENVIRONMENT") == "ENVIRONMENT"
    assert build({b"ENVIRONMENT": b"batch"}, ("ENVIRONMENT",))[b"ENVIRONMENT"] == b"batch"


def test_the_variables_that_a_site_lists_and_those_of_glexec_pass() -> None:
    pilot = {b"OMP_NUM_THREADS": b"8", b"GLEXEC_ENV": b"QUJD", b"GLEXEC_CLIENT_CERT": b"/p/proxy", b"OTHER": b"no"}
    got = build(pilot, ("OMP_NUM_THREADS",))
    assert {name: got.get(name) for name in pilot} == {**pilot, b"OTHER": None}


@pytest.mark.parametrize(
    ("zone", "passed"),
    [
        (b"Europe/Zurich", 1),
        (b":Europe/Zurich", 1),
        (b"CET-1CEST,M3.5.0,M10.5.0/3", 1),
        (b"/usr/share/zoneinfo/UTC", 1),
        (b"/home/pilot/zone", 0),
        (b":/home/pilot/zone", 0),
        (b"/usr/share/zoneinfo/../../../home/pilot/zone", 0),
        (b"../../../../home/pilot/zone", 0),
        (b"UTC\x1b[2J", 0),
        (b"A" * 5000, 0),
    ],
)
def test_the_time_zone_always_passes_unless_it_names_a_file_of_the_pilots(zone: bytes, passed: int) -> None:
    assert build({b"TZ": zone}).get(b"TZ") == (zone if passed else None)


def test_a_listed_locale_cannot_be_a_directory_of_the_pilots() -> None:
    got = build({b"LC_ALL": b"/home/pilot/locale", b"LANG": b"C.UTF-8"}, ("LC_ALL", "LANG"))
    assert (got.get(b"LC_ALL"), got.get(b"LANG")) == (None, b"C.UTF-8")


def test_neither_pilot_nor_the_sites_file_change_who_the_payload_is_or_which_credential_it_finds() -> None:
    names = (b"HOME", b"USER", b"LOGNAME", b"SHELL", b"TMPDIR", b"X509_USER_PROXY", b"BEARER_TOKEN_FILE")
    pilot = dict.fromkeys(names, b"/pilots")
    got = build(pilot, tuple(name.decode() for name in names), site=pilot)
    assert b"/pilots" not in got.values()
    assert b"BEARER_TOKEN_FILE" not in got, "it was given no token, so it must not be sent to the pilot's"


def test_the_sites_file_beats_what_the_pilot_says() -> None:
    got = build({b"SITE_NAME": b"pilots"}, ("SITE_NAME",), {b"SITE_NAME": b"ours", b"PATH": b"/opt/bin:/bin"})
    assert (got[b"SITE_NAME"], got[b"PATH"]) == (b"ours", b"/opt/bin:/bin")


@pytest.mark.parametrize("name", [b"", b"1A", b"A B", b"A=B", b"A\nB", b"A-B", b"\xc3\xa4"])
def test_what_is_no_name_of_a_variable_never_passes(name: bytes) -> None:
    assert not variables.is_name(name)
    assert name not in build({name: b"x"}, (name.decode(),))


@pytest.mark.parametrize(
    "pilot",
    [
        {b"GLEXEC_ENV": b"x" * 10_000_000},
        {b"GLEXEC_ENV": b"x" * environment.LONGEST_VALUE},
        {b"GLEXEC_%d" % number: b"x" * 1000 for number in range(1000)},
    ],
    ids=["10 MB in one", "more than a string may have", "a thousand of 1 kB"],
)
def test_an_environment_that_no_program_can_be_given_is_refused_before_the_switch(pilot: dict[bytes, bytes]) -> None:
    with pytest.raises(Refused) as refused:
        build(pilot)
    assert refused.value.reason == reasons.ENVIRONMENT_TOO_LARGE
    assert len(str(refused.value)) < 200


def test_what_is_not_handed_over_does_not_count() -> None:
    assert b"SECRET" not in build({b"SECRET": b"x" * 10_000_000})


def test_the_sites_file_is_taken_literally() -> None:
    text = b"# comment\n\nSITE=EXAMPLE\nA=\nB=has = and spaces $HOME 'quotes'\n"
    assert environment.read_file(text, "f") == {
        b"SITE": b"EXAMPLE",
        b"A": b"",
        b"B": b"has = and spaces $HOME 'quotes'",
    }


@pytest.mark.parametrize("line", [b"export A=1", b"A", b"=1", b"A =1", b"1A=1", b"A=\0"])
def test_a_line_of_the_sites_file_that_is_none_is_named(line: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^/etc/e:2: "):
        environment.read_file(b"OK=1\n" + line + b"\n", "/etc/e")
