"""What a site may accept or refuse of X.509 beyond the standards, by real credentials against the real verifier."""

from __future__ import annotations

import calendar
import subprocess
import time
from pathlib import Path

import pytest

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import der
from tests import forge
from tests.forge import HOUR, Holder, attribute_certificate, attributes, common_name, extended
from tests.parts.test_credentials import ANNA, CMS, Trust, as_root, made, pytestmark, revoke, trust
from tests.site.credentials import AUTHORITY, BASE

__all__ = ["made", "pytestmark", "trust"]
MINUTE = 60


def policy_of(trust: Trust, text: str | None) -> Path:
    """Give the authority this signing policy in the site's own directory, or none."""
    first, *others = sorted(trust.own_certificates().glob("*.signing_policy"))
    for path in (first, *others):
        path.unlink()
        if text is not None:
            path.write_text(text)
    return first


def allowing(*patterns: str, authority: str = AUTHORITY, rights: str = "pos_rights globus CA:sign") -> str:
    subjects = " ".join(f'"{pattern}"' for pattern in patterns)
    return f"# a comment\n access_id_CA\tX509  '{authority}'\n\n{rights}\ncond_subjects globus '{subjects}'\n"


def plain(trust: Trust) -> Path:
    return trust.write(forge.proxy(trust.anna, trust.key), trust.anna)


# Signing policies


@pytest.mark.parametrize(
    "text",
    [
        allowing(f"{BASE}/*"),
        allowing("/C=XX/*", ANNA.subject),
        allowing("*"),
        allowing("/C=XX/*") + allowing("/DC=*/CN=*"),
        f"access_id_CA X509 {AUTHORITY.replace(' ', '?')}\n" + allowing("*"),
        allowing(f"{BASE}/*").replace("\n", "\r\n"),
    ],
)
def test_an_authority_certifies_whom_its_signing_policy_permits(trust, text):
    policy_of(trust, text)
    assert trust.verify(plain(trust)).subject == ANNA.subject


@pytest.mark.parametrize(
    "text",
    [
        "",
        allowing(),
        allowing("/C=XX/*"),
        allowing(ANNA.subject[:-1]),
        allowing(f"{ANNA.subject}/CN=*"),
        allowing(ANNA.subject.lower()),
        allowing("*", authority=f"{AUTHORITY}2"),
        allowing("*", rights="neg_rights globus CA:sign"),
        allowing("*", rights="pos_rights globus CA:other"),
        allowing("*", rights=""),
        allowing("*") + "cond_subjects globus\n",
        allowing("*") + "deny everything else\n",
        f"cond_subjects globus '\"*\"'\n{allowing('/C=XX/*')}",
        "access_id_anybody\npos_rights globus CA:sign\ncond_subjects globus '\"*\"'\n",
    ],
)
def test_nobody_is_believed_whom_their_authority_may_not_certify(trust, text):
    path = policy_of(trust, text)
    assert path.suffix in trust.refusal(plain(trust), reasons.CREDENTIAL_UNTRUSTED)


def test_a_missing_signing_policy_counts_as_the_site_says(trust):
    policy_of(trust, None)
    assert "missing_signing_policy" in trust.refusal(plain(trust), reasons.CREDENTIAL_UNTRUSTED)
    assert trust.verify(plain(trust), missing_signing_policy=True).subject == ANNA.subject


def test_a_signing_policy_that_is_there_is_obeyed_whatever_the_site_says_of_missing_ones(trust):
    policy_of(trust, allowing("/C=XX/*"))
    trust.refusal(plain(trust), reasons.CREDENTIAL_UNTRUSTED, missing_signing_policy=True)


def test_a_voms_server_outside_its_authoritys_names_grants_nothing(trust):
    policy_of(trust, allowing(ANNA.subject))
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",))
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_UNTRUSTED)


@as_root
def test_a_signing_policy_that_the_verifier_may_not_read_is_named(trust):
    path = policy_of(trust, allowing("*"))
    for each in path.parent.glob("*.signing_policy"):
        each.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"\.signing_policy: the verifier"):
        trust.verify(plain(trust))


# Revocation lists


def test_an_authority_without_a_revocation_list_counts_as_the_site_says(trust):
    for path in trust.own_certificates().glob("*.r0"):
        path.unlink()
    assert trust.verify(plain(trust)).subject == ANNA.subject
    detail = trust.refusal(plain(trust), reasons.CREDENTIAL_UNTRUSTED, missing_revocation_list=False)
    assert ".r0" in detail and "is missing" in detail


def test_a_revoked_person_is_refused_with_a_legacy_proxy_too(trust):
    revoke(trust, "anna")
    trust.refusal(trust.write(legacy(trust.anna, trust), trust.anna), reasons.CREDENTIAL_REVOKED, legacy_proxies=True)


# How long


@pytest.mark.parametrize(
    ("hours", "limits", "level"),
    [
        ((12,), {"leaf_proxy_hours": 12}, None),
        ((13,), {"leaf_proxy_hours": 12}, 0),
        ((12,), {"proxy_hours": [12]}, None),
        ((13,), {"proxy_hours": [12]}, 0),
        ((200, 12), {"proxy_hours": [336, 24], "leaf_proxy_hours": 24}, None),
        ((400, 12), {"proxy_hours": [336, 24], "leaf_proxy_hours": 24}, 0),
        ((200, 25), {"proxy_hours": [336, 24]}, 1),
        ((200, 100, 12), {"proxy_hours": [336]}, None),
        ((200, 100, 25), {"proxy_hours": [336], "leaf_proxy_hours": 24}, 2),
        ((200, 100, 25), {"proxy_hours": [336, 336, 24]}, 2),
    ],
)
def test_a_proxy_lives_as_long_as_its_level_allows(trust, hours, limits, level):
    chain = [trust.anna]
    for each in hours:
        # Tools let a proxy begin five minutes before it is made.
        chain.insert(0, forge.proxy(chain[0], trust.key, validity=(-5 * MINUTE, each * HOUR)))
    path = trust.write(*chain)
    if level is None:
        assert trust.verify(path, **limits).subject == ANNA.subject
    else:
        assert f"level {level}" in trust.refusal(path, reasons.CREDENTIAL_LIFETIME, **limits)


def test_voms_attributes_live_as_long_as_the_site_allows(trust):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), validity=(-5 * MINUTE, 25 * HOUR))
    path = trust.proxy_with(ac)
    assert trust.verify(path, voms_hours=25).fqans == ("/cms",)
    assert "24 are allowed" in trust.refusal(path, reasons.CREDENTIAL_LIFETIME, voms_hours=24)


# Proxies of the kind before RFC 3820


def legacy(signer: Holder, trust: Trust, word: bytes = b"proxy", *extensions: bytes, **options) -> Holder:
    return forge.certificate(signer, trust.key, extended(signer.subject, common_name(word)), extensions, **options)


def fake(trust: Trust, *options: str) -> Path:
    """A proxy of anna's that voms-proxy-fake makes, with the attributes of a member of cms."""
    own, server = trust.grid._files("anna"), trust.grid._files("voms-cms")
    path = trust.directory / "proxy.pem"
    command = [
        "voms-proxy-fake", "-hours", "12", "-vomslife", "12", "-newformat", "-voms", "cms", "-fqan", "/cms",
        "-uri", "voms-cms.example.org:15000", "-cert", own.certificate, "-key", own.key,
        "-hostcert", server.certificate, "-hostkey", server.key, "-certdir", trust.certificates, "-out", path,
    ]  # fmt: skip
    subprocess.run([*command, *options], check=True, capture_output=True)
    path.chmod(0o600)
    return path


def test_a_legacy_proxy_is_believed_only_where_the_site_says_so(trust):
    path = fake(trust, "-proxyver", "2")
    assert "RFC 3820" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)
    person = trust.verify(path, legacy_proxies=True)
    assert (person.subject, person.fqans, person.limited) == (ANNA.subject, ("/cms",), False)


def test_a_limited_legacy_proxy_stays_limited_when_it_is_delegated(trust):
    path = fake(trust, "-proxyver", "2", "-limited")
    trust.refusal(path, reasons.CREDENTIAL_LIMITED, legacy_proxies=True)
    first = legacy(trust.anna, trust, b"limited proxy")
    second = trust.write(legacy(first, trust), first, trust.anna)
    assert trust.verify(second, legacy_proxies=True, limited_allowed=True).limited


def test_a_legacy_proxy_ends_with_the_first_of_its_chain_and_obeys_the_limits(trust):
    first = legacy(trust.anna, trust, validity=(-HOUR, 600))
    path = trust.write(legacy(first, trust, validity=(-HOUR, 30 * HOUR)), trust.anna, first)
    person = trust.verify(path, legacy_proxies=True)
    assert person.subject == ANNA.subject
    assert person.not_after < first_end(first) + 1
    assert "level 1" in trust.refusal(path, reasons.CREDENTIAL_LIFETIME, legacy_proxies=True, leaf_proxy_hours=24)


def first_end(holder: Holder) -> float:
    _, end = der.elements(holder._fields_of_certificate[4].value)
    return calendar.timegm(time.strptime(end.value.decode(), "%Y%m%d%H%M%SZ"))


@pytest.mark.parametrize("offset", [(-2 * HOUR, -HOUR), (HOUR, 2 * HOUR)])
def test_a_legacy_proxy_out_of_its_time_is_refused(trust, offset):
    expired = legacy(trust.anna, trust, validity=offset)
    trust.refusal(trust.write(expired, trust.anna), reasons.CREDENTIAL_EXPIRED, legacy_proxies=True)
    below = legacy(expired, trust)
    trust.refusal(trust.write(below, expired, trust.anna), reasons.CREDENTIAL_EXPIRED, legacy_proxies=True)


def test_a_legacy_proxy_that_its_maker_did_not_make_is_refused(trust):
    stolen = Holder(trust.anna.certificate, trust.bela.key)
    critical = forge.extension("1.2.3.4", b"\x05\x00", critical=True)
    other_name = forge.certificate(trust.anna, trust.key, extended(trust.bela.subject, common_name(b"proxy")))
    two_names = extended(trust.anna.subject, common_name(b"Bela"), common_name(b"proxy"))
    for proxy in (
        legacy(stolen, trust),
        legacy(trust.anna, trust, b"proxy", critical),
        legacy(trust.anna, trust, signature=forge.SHA1_RSA),
        other_name,
        forge.certificate(trust.anna, trust.key, two_names),
    ):
        trust.refusal(trust.write(proxy, trust.anna), reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)
    trust.refusal(trust.write(legacy(trust.anna, trust)), reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)


def test_an_authority_makes_no_legacy_proxies(trust):
    path = trust.write(legacy(trust.authority, trust), trust.authority)
    trust.refusal(path, reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)
    says_so = forge.extension("2.5.29.19", forge.sequence(forge.tlv(der.BOOLEAN, b"\xff")), critical=True)
    below = forge.certificate(trust.authority, trust.key, trust.anna.subject, (says_so,))
    trust.refusal(trust.write(legacy(below, trust), below), reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)


def test_a_person_of_an_unknown_authority_is_not_believed_with_a_legacy_proxy(trust):
    person = forge.certificate(trust.rogue, trust.key, trust.anna.subject)
    usage = forge.extension("2.5.29.15", forge.tlv(der.BIT_STRING, b"\x05\xa0"), critical=True)
    signing = forge.certificate(trust.rogue, trust.key, trust.anna.subject, (usage,))
    for maker in (person, signing):
        path = trust.write(legacy(maker, trust), maker, trust.rogue)
        trust.refusal(path, reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)


def test_who_may_not_sign_makes_no_legacy_proxies(trust):
    usage = forge.extension("2.5.29.15", forge.tlv(der.BIT_STRING, b"\x03\x08"), critical=True)  # keyAgreement
    person = forge.certificate(trust.authority, trust.key, trust.anna.subject, (usage,))
    trust.refusal(trust.write(legacy(person, trust), person), reasons.CREDENTIAL_UNTRUSTED, legacy_proxies=True)


def test_the_two_kinds_of_proxy_do_not_mix(trust):
    old = legacy(trust.anna, trust)
    new = forge.proxy(trust.anna, trust.key)
    for chain in ((forge.proxy(old, trust.key), old, trust.anna), (legacy(new, trust), new, trust.anna)):
        with pytest.raises(Refused):
            trust.verify(trust.write(*chain), legacy_proxies=True)


def test_standard_proxies_are_still_believed_where_legacy_ones_are(trust):
    assert trust.verify(plain(trust), legacy_proxies=True).subject == ANNA.subject
    trust.refusal(trust.write(trust.anna), reasons.CREDENTIAL_MALFORMED, legacy_proxies=True)


def test_a_globus_3_draft_proxy_is_not_taken_for_a_person(trust):
    with pytest.raises(Refused):
        trust.verify(fake(trust, "-proxyver", "3"), legacy_proxies=True)


# Generic attributes, and what is left of the forms that a credential can have


def test_generic_attributes_are_kept_with_their_order_and_context(trust):
    path = fake(trust, "-rfc", "-ga", "nickname=anna (home)", "-ga", "quota=17")
    assert trust.verify(path).attributes == ("nickname=anna  (home)", "quota=17 (cms)")


def test_damaged_generic_attributes_spoil_the_rest(trust):
    for content in (b"", b"\x30\x00", b"\x05\x00", forge.sequence(forge.sequence(forge.sequence(b"\x04\x00")))):
        generic = forge.extension("1.3.6.1.4.1.8005.100.100.11", content)
        ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), extensions=(generic,))
        trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_a_proxy_without_a_signature_is_refused(trust):
    signed, named, _ = der.sequence(forge.proxy(trust.anna, trust.key).certificate)
    for empty in (b"\x00", b"\x00" * 256):
        bare = forge.sequence(signed.whole, named.whole, forge.tlv(der.BIT_STRING, empty))
        trust.refusal(trust.write(Holder(bare, trust.key), trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_attributes_nested_without_end_are_refused(trust):
    deep = b""
    for _ in range(20_000):
        deep = forge.sequence(deep)
    path = trust.write(forge.proxy(trust.anna, trust.key, attributes(deep)), trust.anna)
    trust.refusal(path, reasons.VOMS_FORGED)


def test_a_certificate_that_stands_twice_in_a_file_is_still_one(trust):
    proxy = forge.proxy(trust.anna, trust.key)
    assert trust.verify(trust.write(proxy, trust.anna, proxy, trust.anna)).subject == ANNA.subject


def test_the_attributes_of_a_proxy_stated_twice_are_refused(trust):
    both = attributes(attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",)))
    path = trust.write(forge.proxy(trust.anna, trust.key, both, both), trust.anna)
    with pytest.raises(Refused):
        trust.verify(path)
