r"""Real proxies of people in whose names a part holds ``/`` or ``+``: OpenSSL 3 writes ``\/``, files of old ``/``."""

from __future__ import annotations

import pytest

from gridwarden import reasons
from gridwarden.errors import Refused
from gridwarden.mapper import lcmaps_plugins
from gridwarden.mapper.ban import Ban, banned
from gridwarden.mapper.map_files import read_map
from gridwarden.mapper.policy import decide
from gridwarden.mapper.rule_index import IndexedRules
from gridwarden.mapper.rules import Rule
from tests import forge
from tests.forge import Holder, common_name, sequence
from tests.parts.test_credentials import CMS, Trust, made, trust

__all__ = ["made", "trust"]
pytestmark = pytest.mark.usefixtures("nothing_loaded_late")
BASE = "/DC=org/DC=example"
NAMES = {
    b"pilot/ce.example.org": f"{BASE}/CN=pilot/ce.example.org",
    b"anna+grid@example.org": f"{BASE}/CN=anna+grid@example.org",
}


def somebody(trust: Trust, *parts: bytes) -> Holder:
    base = [each.whole for each in forge.der.sequence(trust.authority.subject)[:2]]
    return forge.certificate(trust.authority, trust.key, sequence(*base, *parts))


def identity(trust: Trust, value: bytes):
    person = somebody(trust, common_name(value))
    return trust.verify(trust.write(forge.proxy(person, trust.key), person))


def ways(bare: str) -> list[str]:
    """The spellings of a name, with patterns that mean each."""
    head, mark, tail = bare.removeprefix(BASE + "/CN=").partition("/" if "/ce" in bare else "+")
    return [f"{BASE}/CN={head}{written}{tail}" for written in (mark, f"\\{mark}", f"\\x5c{mark}")]


@pytest.mark.parametrize("value", NAMES)
def test_who_has_a_slash_or_plus_in_their_name_keeps_the_lease_name_that_lcmaps_gives_them(trust, value):
    assert identity(trust, value).subject == ways(NAMES[value])[1]


@pytest.mark.parametrize("value", NAMES)
def test_who_has_a_slash_or_plus_in_their_name_is_stopped_by_a_ban_in_any_spelling(trust, value):
    who = identity(trust, value)
    for name in ways(NAMES[value]):
        for kind, whom in (("pattern", name), ("pattern", f"{name[:-3]}*"), ("subject", name)):
            assert banned(who, [Ban(((kind, whom),), "bans", 1)]), (kind, whom)
        asked = who._replace(subject=name)
        for other in ways(NAMES[value]):
            for kind in ("pattern", "subject"):
                assert banned(asked, [Ban(((kind, other),), "bans", 1)]), (kind, name, other)
        for shown in ways(NAMES[value]):  # a caller may name them in another spelling than the rule
            for dn in (name, f"{name[:-3]}*", f"*{name[len(BASE) :]}"):
                rules = [Rule(dn=dn, refuse="never"), Rule(dn="/*", pool="cms")]
                for policy in (rules, IndexedRules(rules)):
                    with pytest.raises(Refused, match="never"):
                        decide([who._replace(subject=shown)], policy)
        map_file = read_map(f'"{name}" anna\n'.encode(), "grid-mapfile")
        for shown in ways(NAMES[value]):
            found = lcmaps_plugins.find("localaccount", who._replace(subject=shown), map_file)
            assert found, (name, shown)
            assert found.value == "anna"


def test_a_rule_for_names_with_a_slash_in_a_part_is_for_nobody_whose_next_part_begins_there(trust):
    anna = identity(trust, b"pilot/ce.example.org")._replace(subject=f"{BASE}/CN=pilot/CN=anna")
    for rules in ([Rule(dn=f"{BASE}/CN=pilot\\/*", pool="cms")], [Rule(dn=f"{BASE}/CN=pilot\\x5c/*", pool="cms")]):
        for policy in (rules, IndexedRules(rules)):
            with pytest.raises(Refused):
                decide([anna], policy)


def test_who_has_a_slash_in_their_name_is_certified_by_a_signing_policy_as_it_was_written(trust):
    for path in trust.own_certificates().glob("*.signing_policy"):
        path.write_text(path.read_text().replace(f"{BASE}/*", f"{BASE}/CN=pilot/*"))
    assert identity(trust, b"pilot/ce.example.org")
    person = somebody(trust, common_name(b"host/ce.example.org"))
    trust.refusal(trust.write(forge.proxy(person, trust.key), person), reasons.CREDENTIAL_UNTRUSTED)


def test_a_voms_server_with_a_slash_in_its_name_is_found_in_an_lsc_file_as_it_was_written(trust):
    trust.own_vomsdir()
    server = somebody(trust, common_name(b"host/voms-cms.example.org"))
    trust.lsc().write_text(f"{BASE}/CN=host/voms-cms.example.org\n{BASE}/CN=Example Grid CA\n")
    assert trust.verify(trust.proxy_with(forge.attribute_certificate(trust.anna, server, CMS, ("/cms",)))).vo == "cms"


@pytest.mark.parametrize(
    "parts",
    [
        [common_name(b"anna/CN=bela")],
        [common_name(b"anna+CN=bela")],
        [common_name(b"a+b/c/CN=bela")],
        [common_name(b"anna", b"bela")],
        [common_name(b"anna\\"), common_name(b"bela")],
        [common_name(b"anna\\x5c/bela")],
    ],
)
def test_nobody_is_taken_for_somebody_else_by_a_name_with_slashes_in_its_values(trust, parts):
    person = somebody(trust, *parts)
    trust.refusal(trust.write(forge.proxy(person, trust.key), person), reasons.CREDENTIAL_MALFORMED)


def test_a_voms_server_whose_value_reads_as_two_parts_is_not_the_one_in_the_lsc_file(trust):
    trust.own_vomsdir()
    server = somebody(trust, common_name(b"voms/CN=example"))
    trust.lsc().write_text(f"{BASE}/CN=voms/CN=example\n{BASE}/CN=Example Grid CA\n")
    proxy = trust.proxy_with(forge.attribute_certificate(trust.anna, server, CMS, ("/cms",)))
    with pytest.raises(Refused):
        trust.verify(proxy)
