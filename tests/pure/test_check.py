"""Every inconsistency, made by construction."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gridwarden.holders import Holder
from gridwarden.mapper import findings
from gridwarden.mapper.check import judge
from gridwarden.mapper.directory_view import WITHDRAWN, File, Seen
from gridwarden.mapper.encoding import lease_name
from gridwarden.mapper.names import LeaseFile
from gridwarden.mapper.rules import Rule

ROOT = Path(__file__).resolve().parent.parent.parent
ANNA, BELA = "%2fcn%3danna", "%2fcn%3dbela"
SUBJECTS = {ANNA: "/CN=Anna", BELA: "/CN=Bela"}
LEASE = "0123456789abcdef" * 2
CMS = "https://cms-auth.example.org/"
COLD = f".gridwarden-cooling:cms001:{LEASE}"
CLAIMS = {name: f"x509\n{subject}".encode() for name, subject in SUBJECTS.items()}


def files(**inodes):
    """Names by inode (`_7=["cms001", ANNA]`), with the link count that these names make."""
    return {name: File(int(inode[1:]), len(names), 0) for inode, names in inodes.items() for name in names}


def held(account="cms001", name=ANNA, inode=7, lease=LEASE, fqans=("/cms",)):
    who = SUBJECTS[name]
    return {
        account: Holder(
            account=account, uid=2101, gid=2101, lease=lease, name=name, scheme="x509", subject=who, vo="cms",
            fqans=fqans, since=1, inode=inode,
        )
    }  # fmt: skip


def seen(directory, **values):
    empty = Seen(directory, {}, {}, {}, {}, {}, ("cms", "atlas"))
    return empty._replace(**values)


def lease_file(account="cms001", inode=7, lease=LEASE):
    return LeaseFile(lease, account, inode, 1)


def found(directory, **values):
    """(kind, name, repair) of each finding; each explains itself, and says what to do where it cannot be repaired."""
    judged = judge(seen(directory, **values))
    assert all(finding.detail and bool(finding.repair) != bool(finding.remedy) for finding in judged)
    assert all(finding.repair in {"", *findings.REPAIRS} for finding in judged)
    return [(finding.kind, finding.name, finding.repair) for finding in judged]


def test_a_directory_in_order_has_no_finding():
    directory = files(
        _7=["cms001", ANNA], _8=["cms002"], _9=["cms003", COLD.replace("001", "003")], _10=[".gridwarden"]
    )
    assert not found(
        directory, claims=CLAIMS, leases={ANNA: lease_file()}, holders=held(), released=frozenset([LEASE])
    )  # fmt: skip


def test_a_lease_of_another_program_alone_is_in_order():
    assert not found(files(_7=["cms001", ANNA]))


@pytest.mark.parametrize(("adopts", "kind"), [(True, findings.UNPROVEN), (False, "lease-not-ours")])
def test_a_lease_of_another_program_is_a_fault_only_where_the_site_does_not_follow_it(adopts, kind):
    assert found(files(_7=["cms001", ANNA]), claims=CLAIMS, adopts=adopts) == [(kind, ANNA, "")]
    assert (kind in findings.NOT_FAULTS) == adopts


def test_a_registry_that_lost_a_name_has_it_again_from_the_lease_file():
    said = {ANNA: lease_file()._replace(scheme="x509", subject="/CN=Anna")}
    directory = files(_7=["cms001", ANNA])
    assert not found(directory, claims=CLAIMS, leases=said, holders=held())
    assert found(directory, leases=said, holders=held()) == [("claim-lost", ANNA, findings.WRITE_CLAIM)]
    other = {ANNA: said[ANNA]._replace(subject="/CN=ANNA")}
    assert found(directory, claims=CLAIMS, leases=other, holders=held()) == [("two-identities", ANNA, "")]


def test_a_fixed_account_needs_no_link():
    fixed = held("cmsprod")
    fixed["cmsprod"].name, fixed["cmsprod"].inode = "", 0
    assert not found(files(_7=["cms001"]), holders=fixed)


# Three links


def test_of_three_links_the_holder_file_decides():
    three = files(_7=["cms001", ANNA, BELA])
    expected = [("three-links", BELA, findings.TAKE_AWAY)]
    assert found(three, claims=CLAIMS, holders=held(), leases={ANNA: lease_file()}) == expected


def test_of_three_links_the_lease_file_decides_where_no_holder_file_does():
    three = files(_7=["cms001", ANNA, BELA])
    assert found(three, claims=CLAIMS, leases={ANNA: lease_file()}) == [("three-links", BELA, findings.TAKE_AWAY)]


def test_of_three_links_none_is_taken_away_where_nothing_says_which_was_handed_out():
    assert found(files(_7=["cms001", ANNA, BELA])) == [("three-links", ANNA, ""), ("three-links", BELA, "")]
    assert [repair for _, _, repair in found(files(_7=["cms001", ANNA, BELA]), claims=CLAIMS)] == ["", ""]


def test_of_three_links_none_is_taken_away_where_two_were_handed_out():
    both = {ANNA: lease_file(), BELA: lease_file(lease="f" * 32)}
    three = files(_7=["cms001", ANNA, BELA])
    assert [r for _, _, r in found(three, claims=CLAIMS, leases=both)] == ["", ""]
    assert [r for _, _, r in found(three, claims=CLAIMS, leases=both, holders=held())] == ["", ""]


def test_a_cooling_account_stays_taken_when_another_linked_it_too():
    three = files(_7=["cms001", COLD, BELA])
    assert found(three, released=frozenset([LEASE])) == [("three-links", BELA, findings.TAKE_AWAY)]


def test_a_link_that_an_interrupted_repair_renamed_is_taken_away_in_the_end():
    withdrawn = f"{WITHDRAWN}00"
    assert found(files(_7=["cms001", ANNA, withdrawn])) == [
        ("three-links", ANNA, ""),
        ("three-links", withdrawn, findings.TAKE_AWAY),
    ]
    known = {"claims": CLAIMS, "leases": {ANNA: lease_file()}}
    assert found(files(_7=["cms001", ANNA, withdrawn]), **known) == [("three-links", withdrawn, findings.TAKE_AWAY)]
    assert found(files(_7=["cms001", withdrawn])) == [("withdrawn", withdrawn, "")]
    assert found(files(_7=[withdrawn])) == [("solitary-lease", withdrawn, findings.TAKE_AWAY)]


def test_a_link_outside_the_directory_is_found():
    directory = {"cms001": File(7, 2, 0)}
    assert found(directory) == [("link-elsewhere", "cms001", "")]
    directory = {"cms001": File(7, 3, 0), ANNA: File(7, 3, 0)}
    assert found(directory) == [("link-elsewhere", "cms001", "")]


def test_two_accounts_that_are_one_file_are_found():
    assert found(files(_7=["cms001", "cms002"])) == [("two-accounts", "cms001", "")]


# Leases without account


def test_a_solitary_lease_that_nobody_knows_is_taken_away_as_lcmaps_does():
    assert found(files(_7=[ANNA])) == [("solitary-lease", ANNA, findings.TAKE_AWAY)]
    assert found(files(_7=[ANNA]), claims=CLAIMS) == [("solitary-lease", ANNA, findings.TAKE_AWAY)]


@pytest.mark.parametrize("known", [{"leases": {ANNA: lease_file()}}, {"holders": held()}])
def test_an_account_file_that_was_removed_by_hand_is_made_again(known):
    kinds = found(files(_7=[ANNA]), claims=CLAIMS, **known)
    assert kinds == [("account-removed", ANNA, findings.RESTORE_ACCOUNT)]


def test_the_account_file_of_a_cooling_name_is_made_again():
    kinds = found(files(_7=[COLD]), released=frozenset([LEASE]))
    assert kinds == [("account-removed", COLD, findings.RESTORE_ACCOUNT)]


def test_an_account_that_was_made_anew_under_its_holder_is_never_made_to_look_right():
    kinds = found(files(_7=[ANNA], _8=["cms001"]), claims=CLAIMS, leases={ANNA: lease_file()}, holders=held())
    assert ("account-replaced", ANNA, "") in kinds
    assert not [kind for kind, _, repair in kinds if repair]


def test_a_lease_that_leads_to_no_account_but_elsewhere_is_found():
    assert found({ANNA: File(7, 2, 0)}) == [("orphan-lease", ANNA, "")]
    assert found(files(_7=[ANNA, BELA])) == [("orphan-lease", ANNA, ""), ("orphan-lease", BELA, "")]


# Cooling


def test_a_cooling_name_without_record_is_recorded():
    assert found(files(_7=["cms001", COLD])) == [("cooling-unrecorded", COLD, findings.NOTE)]


def test_a_cooling_name_of_another_account_is_found():
    assert found(files(_7=["cms002", COLD])) == [("cooling-corrupt", COLD, "")]
    odd = ".gridwarden-cooling:cms001:xyz"
    assert found(files(_7=["cms001", odd])) == [("cooling-corrupt", odd, "")]


def test_a_release_that_was_killed_is_finished():
    kinds = found(
        files(_7=["cms001", COLD]),
        claims=CLAIMS,
        leases={ANNA: lease_file()},
        holders=held(),
        released=frozenset([LEASE]),
    )
    assert kinds == [
        ("lease-file-left", ANNA, findings.REMOVE_LEASE_FILE),
        ("holder-left", ANNA, findings.REMOVE_HOLDER),
    ]


# What gridwarden keeps of a lease


def test_a_lease_that_another_program_took_away_is_linked_again():
    kinds = found(files(_7=["cms001"]), claims=CLAIMS, leases={ANNA: lease_file()})
    assert kinds == [("lease-removed", ANNA, findings.RESTORE_LEASE)]
    kinds = found(files(_7=["cms001"]), claims=CLAIMS, leases={ANNA: lease_file()}, holders=held())
    assert kinds == [("lease-removed", ANNA, findings.RESTORE_LEASE)]


def test_a_lease_whose_account_was_freed_is_not_linked_again():
    freed = {"freed": frozenset([LEASE])}
    kinds = found(files(_7=["cms001"]), claims=CLAIMS, leases={ANNA: lease_file()}, holders=held(), **freed)
    assert kinds == [
        ("lease-file-left", ANNA, findings.REMOVE_LEASE_FILE),
        ("holder-left", ANNA, findings.REMOVE_HOLDER),
    ]


@pytest.mark.parametrize("directory", [files(_7=["cms001", BELA]), files(_9=["cms001"]), files(_8=["cms002"])])
def test_a_lease_whose_account_is_not_free_any_more_is_forgotten(directory):
    kinds = found(directory, claims=CLAIMS, leases={ANNA: lease_file()})
    assert ("lease-file-left", ANNA, findings.REMOVE_LEASE_FILE) in kinds


def test_the_lease_file_is_made_again_of_the_holder_file():
    directory = files(_7=["cms001", ANNA])
    for leases, kind in [({}, "missing"), ({ANNA: None}, "wrong"), ({ANNA: lease_file("cms002")}, "wrong")]:
        kinds = found(directory, claims=CLAIMS, leases=leases, holders=held())
        assert kinds == [(f"lease-file-{kind}", ANNA, findings.WRITE_LEASE_FILE)]


def test_a_lease_file_about_another_account_is_forgotten():
    kinds = found(files(_7=["cms001", ANNA]), claims=CLAIMS, leases={ANNA: lease_file("cms002", 8)})
    assert kinds == [("lease-file-wrong", ANNA, findings.REMOVE_LEASE_FILE)]


def test_leases_keep_their_id_when_the_directory_was_copied():
    kinds = found(files(_70=["cms001", ANNA]), claims=CLAIMS, leases={ANNA: lease_file()}, holders=held())
    assert kinds == [
        ("lease-file-wrong", ANNA, findings.WRITE_LEASE_FILE),
        ("holder-of-copy", ANNA, findings.WRITE_HOLDER),
    ]


def test_a_foreign_lease_under_a_registered_name_is_told_and_left_alone():
    assert found(files(_7=["cms001", ANNA]), claims=CLAIMS) == [(findings.UNPROVEN, ANNA, "")]
    assert findings.UNPROVEN in findings.NOT_FAULTS


def test_a_spoilt_registry_is_found():
    assert found(files(_7=["cms001"]), claims={ANNA: b""}) == [("claim-corrupt", ANNA, "")]


# Holders


def test_a_holder_without_lease_keeps_the_account_from_being_lent():
    assert found(files(_7=["cms001"]), holders=held()) == [("holder-without-lease", ANNA, "")]


def test_a_holder_whose_account_is_now_anothers_is_found():
    kinds = found(files(_7=["cms001", BELA]), claims=CLAIMS, holders=held(), leases={BELA: lease_file()})
    assert kinds == [("holder-without-lease", ANNA, "")]
    kinds = found(files(_7=["cms001", BELA], _8=["cms002", ANNA]), holders=held())
    assert kinds == [("holder-elsewhere", ANNA, "")]


def test_a_holder_who_is_not_who_the_registry_says_is_found():
    claims = {ANNA: b"x509\n/CN=ANNA"}
    kinds = found(files(_7=["cms001", ANNA]), claims=claims, holders=held(), leases={ANNA: lease_file()})
    assert kinds == [("two-identities", ANNA, "")]


def test_a_holder_file_that_cannot_be_trusted_is_found():
    assert found(files(_7=["cms001"]), unreadable={"cms001": "others could have written it"}) == [
        ("holder-corrupt", "cms001", "")
    ]


def test_a_lease_of_a_pool_that_the_policy_no_longer_gives_is_found():
    rules = (Rule(fqan="/cms", pool="atlas"),)
    known = {"claims": CLAIMS, "holders": held(), "leases": {ANNA: lease_file()}}
    assert found(files(_7=["cms001", ANNA]), rules=rules, **known) == [("wrong-pool", ANNA, "")]
    assert not found(files(_7=["cms001", ANNA]), rules=(Rule(fqan="/cms", pool="cms"),), **known)


def of_token(*rules):
    """What is found of a token's holder of an account of pool cms."""
    name = lease_name(f"/token/{CMS},anna")
    holder = held()
    holder["cms001"].scheme, holder["cms001"].subject, holder["cms001"].name = "token", f"{CMS},anna", name
    file = lease_file()._replace(scheme="token", subject=f"{CMS},anna")
    return found(
        files(_7=["cms001", name]),
        claims={name: f"token\n{CMS},anna".encode()},
        holders=holder,
        leases={name: file},
        rules=rules,
    )


@pytest.mark.parametrize("rule", [{"issuer": CMS}, {"issuer": CMS, "subject": "anna"}, {"vo": "cms"}])
def test_a_token_holders_lease_of_a_pool_that_the_policy_no_longer_gives_is_found(rule):
    assert [kind for kind, _, _ in of_token(Rule(**rule, pool="atlas"))] == ["wrong-pool"]
    assert not of_token(Rule(**rule, pool="cms"))


@pytest.mark.parametrize(
    "rule",
    [
        {"issuer": CMS, "group": "/cms"},
        {"scope": "compute.create"},
        {"audience": "*"},
        {"issuer": CMS, "dn": "*"},
    ],
)
def test_nobody_is_told_to_release_a_lease_for_what_is_no_longer_known_of_its_holder(rule):
    assert not of_token(Rule(**rule, pool="cms"), Rule(issuer="*", pool="atlas"))


def test_a_lease_of_an_account_of_no_pool_is_found():
    kinds = found(files(_7=["dteam01", ANNA]), claims=CLAIMS, leases={ANNA: lease_file("dteam01")})
    assert kinds == [("wrong-pool", ANNA, "")]


# Accounts


def test_an_account_that_this_machine_does_not_know_is_found():
    kinds = found(files(_7=["cms001"]), unusable={"cms001": "cms001 has no passwd entry"})
    assert kinds == [("account-unusable", "cms001", "")]


def test_what_is_not_a_file_is_found():
    assert found({"cms001": File(7, 2, 0, regular=False)}) == [("not-a-file", "cms001", "")]
    assert found({ANNA: File(7, 1, 0, regular=False)}) == [("not-a-file", ANNA, "")]
    assert not found({"lost+found": File(7, 2, 0, regular=False)})


def test_every_kind_of_finding_is_explained():
    sources = "".join((ROOT / "mapper" / name).read_text() for name in ("check.py", "check_links.py"))
    kinds = {*re.findall(r'Finding\(\s*"([a-z-]+)"', sources), findings.UNPROVEN}
    page = (ROOT / "docs" / "gridmapdir.md").read_text()
    assert len(kinds) > 20
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()
