"""What the declaration accepts and refuses, without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gridwarden.describe_settings import reference, sample
from gridwarden.policy_settings import Rule
from gridwarden.setting_types import FaultsError
from gridwarden.settings import Settings


def site(**more: Any) -> dict[str, Any]:
    least = {
        "site": "EXAMPLE",
        "pools": ["cms"],
        "policy": [{"fqan": "/cms*", "pool": "cms"}],
        "slurm": {"cluster": "site"},
    }
    return {**least, **more}


def faults(**more: Any) -> str:
    """Return what is wrong with a site, as one text."""
    with pytest.raises(ValidationError) as caught:
        Settings.of(site(**more))
    texts = []
    for details in caught.value.errors():
        cause = details.get("ctx", {}).get("error")
        texts.append(str(cause) if isinstance(cause, FaultsError) else details["msg"])
    return "\n".join(texts)


def test_four_keys_make_a_site() -> None:
    settings = Settings.of(site())

    assert settings.gridmapdir == Path("/etc/grid-security/gridmapdir")
    assert settings.bans == (Path("/etc/gridwarden/bans"),)
    assert settings.holders_directory == Path("/run/gridwarden/holders")
    assert settings.register_directory == Path("/run/gridwarden/jobs")
    assert settings.locks_directory == Path("/run/gridwarden/locks")
    assert settings.ledger_directory == Path("/var/lib/gridwarden/ledger")
    assert not settings.credentials.limited_proxies
    assert settings.slurm.prolog_on_failure == "record-gap"


def test_nothing_can_change_the_settings_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings.of(site()).site = "OTHER"  # type: ignore[misc]


@pytest.mark.parametrize("pools", [["cms", "cmsprd"], ["cmsprd", "cms"], ["cms", "cms"]])
def test_no_account_can_belong_to_two_pools(pools: list[str]) -> None:
    assert "accounts would belong to both" in faults(pools=pools)


def test_no_file_is_both_a_ban_file_and_a_ban_list() -> None:
    assert "is one of bans, too" in faults(bans=["/etc/bans"], ban_lists=["/etc/list", "/etc/bans"])


@pytest.mark.parametrize("pool", ["cms1", "1cms", "", ".cms", "c/ms", "cms ", "cms\n", "a" * 40])
def test_a_pool_is_a_prefix_that_account_names_can_have(pool: str) -> None:
    assert "cannot be a pool" in faults(pools=["cms", pool] if pool else [pool], policy=[{"dn": "*", "refuse": "x"}])


def test_a_rule_cannot_lend_from_a_pool_that_is_not_there() -> None:
    assert "pool 'atlas' is not one of pools" in faults(policy=[{"fqan": "/atlas*", "pool": "atlas"}])


def test_a_fixed_account_is_never_one_that_a_pool_lends() -> None:
    assert "is one that pool 'cms' lends" in faults(policy=[{"dn": "/CN=x", "account": "cms007"}])


def test_an_account_that_only_begins_like_a_pool_may_be_fixed() -> None:
    assert Settings.of(site(policy=[{"dn": "/CN=x", "account": "cmsprod"}])).policy[0].account == "cmsprod"


@pytest.mark.parametrize("account", ["root", "", "a b", "../x", "-x", "cms\n"])
def test_no_rule_maps_to_root_or_to_what_is_no_account(account: str) -> None:
    assert "not the name of an account" in faults(policy=[{"dn": "/CN=x", "account": account}])


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ({"dn": "*"}, "none of them"),
        ({"dn": "*", "pool": "cms", "account": "x"}, "pool and account"),
        ({"dn": "*", "account": "x", "refuse": "no"}, "account and refuse"),
    ],
)
def test_a_rule_has_one_outcome(rule: dict[str, str], given: str) -> None:
    assert f"exactly one of pool, account, refuse, map_file, globus; it has {given}" in faults(policy=[rule])


def test_a_rule_says_whom_it_matches() -> None:
    assert "needs dn or fqan" in faults(policy=[{"pool": "cms"}])


def test_a_site_that_maps_nobody_is_a_mistake() -> None:
    assert "must not be empty" in faults(pools=[])
    assert "must not be empty" in faults(policy=[])


@pytest.mark.parametrize("path", ["gridmapdir", "/x/../y", "~/x", "", "/x\ny", "/x\x00"])
def test_a_path_means_the_same_for_everyone(path: str) -> None:
    assert faults(gridmapdir=path)
    assert faults(bans=[path])
    assert faults(directories={"state": path})


@pytest.mark.parametrize("value", ["a\tb", "a\nkey\tvalue", "", " "])
def test_no_value_can_add_a_line_to_the_node_file(value: str) -> None:
    assert faults(site=value)
    assert faults(slurm={"cluster": value})
    assert faults(slurm={"cluster": "x", "spool": f"/x{value}\n"})


def test_the_spool_may_hold_the_names_of_node_and_host_and_no_other_pattern() -> None:
    for spool in ("/var/spool/slurmd/%n", "/var/spool/%h/%n"):
        assert Settings.of(site(slurm={"cluster": "x", "spool": spool})).slurm.spool == spool
    for spool in ("/var/spool/slurmd/%u", "/var/%n/%n", "/var/spool/100%"):
        assert "no pattern but %n" in faults(slurm={"cluster": "x", "spool": spool})


@pytest.mark.parametrize("choice", ["", "ignore", "Drain", True])
def test_on_failure_is_one_of_the_four(choice: object) -> None:
    assert faults(slurm={"cluster": "x", "prolog_on_failure": choice})
    assert faults(slurm={"cluster": "x", "epilog_on_failure": choice})


@pytest.mark.parametrize("number", [0, -1, True, "5", None])
def test_a_limit_is_a_positive_number(number: object) -> None:
    assert faults(slurm={"cluster": "x", "script_maximum_bytes": number})
    assert faults(credentials={"verify_seconds": number})


@pytest.mark.parametrize("url", ["sqlite:///relative", "sqlite://", "/var/x", "mysql://x", "sqlite:////x\n"])
def test_the_store_is_found_from_everywhere(url: str) -> None:
    assert faults(store=url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gridwarden:secret@db/store",
        "postgresql://db/store?sslmode=require&password=secret",
        "postgresql://db/store?sslkey=/k&sslpassword=secret",
        "postgresql://db/store?%70assword=secret",
        "postgresql://db/store?scram_client_key=secret",
    ],
)
def test_no_password_stands_where_every_reader_of_the_configuration_sees_it(url: str) -> None:
    assert "password" in faults(store=url)
    assert "secret" not in faults(store=url)


def test_a_server_may_be_named_in_every_way_that_holds_no_password() -> None:
    for url in ("postgresql://[::1]:5432/store", "postgresql:///store?host=/run/postgresql", "postgresql://gw@db:1/s"):
        assert Settings.of(site(store=url)).store == url


def test_the_sample_is_a_configuration() -> None:
    assert Settings.of(yaml.safe_load(sample())).pools == ("cms", "atlas")


def test_the_sample_with_everything_uncommented_says_the_same() -> None:
    lines = sample().splitlines()
    uncommented = "\n".join(
        line.replace("#", "", 1) if line.lstrip()[:1] == "#" and line.lstrip()[1:2] != " " else line for line in lines
    )

    assert Settings.of(yaml.safe_load(uncommented)) == Settings.of(yaml.safe_load(sample()))


def test_the_sample_shows_every_key_of_a_rule_in_rules_that_load() -> None:
    settings = Settings.of(
        {
            **yaml.safe_load(sample().replace("  # - {", "  - {")),
            "globus": {"sets": [{"name": "endpoint", "files": ["/etc/gridwarden/globus.json"]}]},
        }
    )
    assert {key for rule in settings.policy for key in rule.model_fields_set} == set(Rule.model_fields)


def test_every_key_has_a_description() -> None:
    assert "None" not in reference()


def test_lease_names_with_groups_need_the_file_that_says_which() -> None:
    assert "is needed for name: dn-and-groups" in faults(leases={"name": "dn-and-groups"})
    leases = Settings.of(site(leases={"name": "dn-and-groups", "groupmapfile": "/etc/grid-security/groupmapfile"}))
    assert leases.leases.cooling_hours == 24


@pytest.mark.parametrize(
    "leases", [{"cooling_hours": 0}, {"warn_at_percent": 101}, {"slots": 10_000}, {"nodes": ["../n1"]}]
)
def test_no_setting_frees_an_account_at_once_or_names_what_cannot_be(leases: dict[str, Any]) -> None:
    assert faults(leases=leases)


@pytest.mark.parametrize(
    ("uids", "why"),
    [
        ("0-60000", "begins below 1000"),
        ("999", "begins below 1000"),
        ("3000-2000", "ends before it begins"),
        ("-1", "not a range"),
        ("2000-", "not a range"),
        ("²000-3000", "not a range"),
        ("2000 - 3000", "not a range"),
    ],
)
def test_no_range_of_uids_reaches_root_or_the_systems_own_users(uids: str, why: str) -> None:
    assert why in faults(prune={"uids": [uids]})


@pytest.mark.parametrize("path", ["/", "//", "user.slice", "/a/../..", "/a\n"])
def test_no_exempt_control_group_is_everybodys(path: str) -> None:
    assert faults(prune={"exempt_cgroups": [path]})


def test_a_site_kills_nothing_from_cron_until_it_says_so() -> None:
    pairs = dict(Settings.of(site()).prune.node_pairs())
    assert pairs["prune_kill"] == "no"
    assert pairs["prune_epilog"] == "yes"


def test_no_batch_system_is_a_choice_of_its_own_which_the_node_file_keeps_and_the_administrator_hears_about() -> None:
    for batch, said in (({}, ["slurm"]), ({"batch": []}, ["none"]), ({"batch": ["pbs"]}, ["pbs"])):
        prune = Settings.of(site(prune=batch)).prune
        assert [value for key, value in prune.node_pairs() if key == "prune_batch"] == said
        assert bool(prune.remarks()) == (said == ["none"])


def test_the_node_file_names_the_daemons_of_the_sites_own_batch_systems_only() -> None:
    prune = Settings.of(site(prune={"batch": ["slurm", "torque"]})).prune
    daemons = [value for key, value in prune.node_pairs() if key == "prune_daemon"]
    assert daemons == ["/usr/sbin/slurmd", "/usr/sbin/slurmstepd", "/usr/sbin/pbs_mom"]
