"""Options of sudo that would hand root's launcher to a pilot, or keep it from working, must be found."""

from __future__ import annotations

from typing import Any

import pytest

from gridwarden.hooks.pilot import sudo_rules

PROGRAM = "/usr/libexec/gridwarden/exec"
GOOD = {"use_pty": True, "pam_setcred": True, "pam_session": False, "env_reset": True, "closefrom": "3"}


def defaults(binding: list[dict[str, Any]] | None = None, **options: object) -> dict[str, Any]:
    return {"Options": [{name: value} for name, value in options.items()], **({"Binding": binding} if binding else {})}


def rule(who: list[dict[str, Any]], commands: list[dict[str, Any]], **options: object) -> dict[str, Any]:
    return {"User_List": who, "Cmnd_Specs": [{"Options": [{n: v} for n, v in options.items()], "Commands": commands}]}


PILOT = [{"username": "pilotcms"}]
LAUNCHER = [{"command": PROGRAM}]
GOOD_RULE = rule(PILOT, LAUNCHER, authenticate=False, setenv=False)


def found(document: dict[str, Any], *groups: str) -> set[str]:
    options = sudo_rules.options_for(document, PROGRAM, ["pilotcms", *groups])
    return {risk.detail.split()[0] for risk in sudo_rules.judge(options)}


def test_the_rule_of_the_example_has_no_fault() -> None:
    assert found({"Defaults": [defaults(LAUNCHER, **GOOD)], "User_Specs": [GOOD_RULE]}) == set()


@pytest.mark.parametrize(
    "option",
    [
        {"requiretty": True},
        {"setenv": True},
        {"env_reset": False},
        {"noexec": True},
        {"intercept": True},
        {"log_subcmds": True},
        {"pam_session": True},
        {"log_output": True},
        {"log_stdin": True},
        {"command_timeout": "3600"},
        {"runchroot": "/x"},
        {"closefrom": "10"},
    ],
)
def test_an_option_that_harms_is_found_wherever_it_is_set(option: dict[str, Any]) -> None:
    (name,) = option
    for place in (None, LAUNCHER, [{"command": "ALL"}], PILOT, [{"usergroup": "pilots"}], [{"runasuser": "root"}]):
        good = {key: value for key, value in GOOD.items() if key != name}
        rules = [rule(PILOT, LAUNCHER, authenticate=False)]
        document = {"Defaults": [defaults(place, **option), defaults(**good)], "User_Specs": rules}
        if place is None:
            document["Defaults"].reverse()
        assert found(document, "%pilots") == {name}, place


def test_the_rules_own_word_counts_last() -> None:
    document = {"Defaults": [defaults(LAUNCHER, **GOOD, setenv=True)], "User_Specs": [GOOD_RULE]}
    assert found(document) == set()
    document["User_Specs"].append(rule([{"username": "ALL"}], LAUNCHER, setenv=True))
    assert found(document) == {"setenv"}


def test_what_is_said_of_others_counts_for_nothing() -> None:
    others = [
        defaults([{"username": "alice"}], requiretty=True),
        defaults([{"command": "/bin/ls"}], noexec=True),
        defaults([{"runasuser": "mysql"}], env_reset=False),
    ]
    document = {"Defaults": [*others, defaults(LAUNCHER, **GOOD)], "User_Specs": [GOOD_RULE]}
    document["User_Specs"].append(rule(PILOT, [{"command": "/bin/ls"}], setenv=True))
    assert found(document) == set()


def test_a_rule_that_asks_for_a_password_is_found() -> None:
    document = {"Defaults": [defaults(LAUNCHER, **GOOD)], "User_Specs": [rule(PILOT, LAUNCHER)]}
    assert found(document) == {"authenticate"}


@pytest.mark.parametrize("keeps", ["use_pty", "pam_setcred", "pam_session"])
def test_sudo_that_would_be_gone_before_its_pilot_signals_it_is_found(keeps: str) -> None:
    off = {"use_pty": False, "pam_setcred": False, "pam_session": False}
    document = {"Defaults": [defaults(LAUNCHER, **off)], "User_Specs": [GOOD_RULE]}
    assert found(document) == {"sudo"}
    document["Defaults"].append(defaults(LAUNCHER, **{keeps: True}))
    assert "sudo" not in found(document)


def test_a_rule_for_the_launcher_with_certain_arguments_is_one_for_it() -> None:
    rules = [rule(PILOT, [{"command": f"{PROGRAM} --check *"}], authenticate=False)]
    assert found({"Defaults": [defaults(LAUNCHER, **GOOD)], "User_Specs": rules}) == set()


def test_groups_that_track_a_job_and_would_be_lost_are_found_where_the_site_names_some() -> None:
    lost = sudo_rules.options_for(
        {"Defaults": [defaults(LAUNCHER, **GOOD)], "User_Specs": [GOOD_RULE]}, PROGRAM, ["pilotcms"]
    )
    assert sudo_rules.judge(lost) == []
    assert [risk.detail.split(" ")[0] for risk in sudo_rules.judge(lost, groups=True)] == ["preserve_groups"]
    assert sudo_rules.judge(lost | {"preserve_groups": True}, groups=True) == []
