"""A site that comes from gLExec must learn of each of its keys what becomes of it, and lose none unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gridwarden import load_settings
from gridwarden.cli import gridwarden
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.pilot import glexec_conf
from gridwarden.run import run

DATA = Path(__file__).resolve().parents[1] / "data" / "glexec.conf"
EXAMPLE = Path(__file__).resolve().parents[2] / "site-configs" / "one-machine" / "site.yaml"


def verdict(key: str, value: str) -> str:
    ((_, fate),) = glexec_conf.judge([glexec_conf.Line(1, key, value)])
    return fate.verdict


def test_every_key_that_sites_have_used_is_known() -> None:
    judged = glexec_conf.judge(glexec_conf.read(DATA.read_bytes(), "glexec.conf"))
    assert {line.key for line, _ in judged} >= glexec_conf.KEYS.keys() - {
        "lock_mechanism",
        "lcas_log_destination",
        "lcmaps_log_destination",
    }
    assert {line.key for line, fate in judged if fate.verdict == "refused"} == {"omission_private_key_white_list"}


def test_the_section_that_is_printed_is_one_that_gridwarden_accepts(tmp_path: Path) -> None:
    judged = glexec_conf.judge(glexec_conf.read(DATA.read_bytes(), "glexec.conf"))
    section = glexec_conf.section_of(judged, ("/cms/Role=pilot",))
    (tmp_path / "site.yaml").write_text(EXAMPLE.read_text())
    (tmp_path / "site.d").mkdir()
    (tmp_path / "site.d" / "pilot.yaml").write_text(yaml.safe_dump({"pilot": section}))
    pilot = load_settings.load(tmp_path / "site.yaml").pilot
    assert [(caller.account, caller.pool, caller.fqan) for caller in pilot.callers] == [
        ("pilotcms", None, ("/cms/Role=pilot",)),
        (None, "cms", ("/cms/Role=pilot",)),
    ]
    assert pilot.preserve == ("LANG", "OMP_NUM_THREADS")
    assert (str(pilot.epilogue), pilot.epilogue_seconds) == ("/usr/libexec/site-payload-epilogue", 60)


def test_callers_whose_role_nobody_named_are_not_let_in(tmp_path: Path) -> None:
    judged = glexec_conf.judge([glexec_conf.Line(1, "user_white_list", "pilotcms")])
    (tmp_path / "site.yaml").write_text(EXAMPLE.read_text() + yaml.safe_dump({"pilot": glexec_conf.section_of(judged)}))
    with pytest.raises(ConfigurationError, match="needs what its own credential must say"):
        load_settings.load(tmp_path / "site.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user_white_list", "*"),
        ("user_white_list", "pilotcms, -x"),
        ("omission_private_key_white_list", "tomcat"),
        ("preserve_env_variables", "LD_PRELOAD"),
        ("preserve_env_variables", "A=b"),
        ("create_target_proxy", "no"),
        ("silent_logging", "yes"),
        ("epilogue", "clean.sh"),
        ("epilogue_user", "glexec"),
        ("epilogue_timeout", "0"),
        ("epilogue_timeout", "3601"),
        ("epilogue_timeout", "٣"),
        ("user_whitelist", "pilotcms"),
    ],
)
def test_what_will_not_happen_here_is_refused_and_not_passed_over(key: str, value: str) -> None:
    assert verdict(key, value) == "refused"
    assert glexec_conf.section_of(glexec_conf.judge([glexec_conf.Line(1, key, value)])) == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preserve_env_variables", "no"),
        ("preserve_env_variables", ""),
        ("omission_private_key_white_list", ""),
        ("user_white_list", ""),
    ],
)
def test_a_list_of_nothing_is_kept_as_nothing(key: str, value: str) -> None:
    assert verdict(key, value) == "honoured"
    assert glexec_conf.section_of(glexec_conf.judge([glexec_conf.Line(1, key, value)])) == {}


def test_a_key_that_stands_twice_is_not_guessed_at() -> None:
    judged = glexec_conf.judge(glexec_conf.read(b"[glexec]\nlinger = yes\nlinger = no\n", "x"))
    assert [fate.verdict for _, fate in judged] == ["honoured", "refused"]


@pytest.mark.parametrize(
    "text", [b"linger = yes\n", b"[glexec]\nlinger\n", b"[glexec]\n= x\n", b"", b"[lcas]\na = b\n"]
)
def test_a_file_that_is_no_glexec_conf_is_none(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"glexec\.conf"):
        glexec_conf.read(text, "glexec.conf")


def test_the_command_shows_each_key_and_ends_with_1_when_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(gridwarden, "gridwarden", ["import", "glexec", str(DATA)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(glexec_conf.read(DATA.read_bytes(), ""))
    assert any("user_white_list" in line and "honoured" in line for line in lines)
    assert any("lcmaps_db_file" in line and "replaced" in line for line in lines)


def test_bytes_of_the_file_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "glexec.conf").write_bytes(b"[glexec]\nuser_white_list = \x1b[2J\xff\n")
    assert run(gridwarden, "gridwarden", ["import", "glexec", str(tmp_path / "glexec.conf")]) == 1
    assert "\x1b" not in capsys.readouterr().out
