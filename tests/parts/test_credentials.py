"""Real credentials, honest and forged, against the real verifier process."""

from __future__ import annotations

import base64
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from gridwarden import reasons
from gridwarden.errors import ConfigurationError, Refused, Unavailable
from gridwarden.mapper import credential_file, der, verifying, voms, x509
from gridwarden.mapper.accepted import Accepted
from gridwarden.mapper.site_files import SiteFiles
from gridwarden.mapper.verify import verify_proxy
from tests import forge
from tests.forge import HOUR, Holder, attribute_certificate, attributes, common_name, extended
from tests.site.credentials import PEOPLE, Grid

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.usefixtures("nothing_loaded_late"),
    pytest.mark.skipif(
        shutil.which("voms-proxy-fake") is None and os.environ.get("CI") != "true",
        reason="voms-proxy-fake is not installed (Debian package voms-clients)",
    ),
]
as_root = pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("CI") != "true", reason="needs root, to become somebody else"
)
ANNA, BELA, CHEN, _ = PEOPLE
CMS, ATLAS = "cms://voms-cms.example.org:15000", "atlas://voms-atlas.example.org:15000"
SOMEBODY = 30001  # a uid, of no account


class Trust:
    """A grid, keys to forge with, and what a site trusts, of which a test may spoil its own copy."""

    def __init__(self, grid: Grid, directory: Path) -> None:
        self.grid = grid
        self.directory = directory
        self.certificates = grid.certificates
        self.vomsdir = grid.vomsdir
        self.anna, self.bela, self.authority, self.rogue = map(self.holder, ("anna", "bela", "ca", "rogue"))
        self.cms, self.atlas, self.rogue_cms = map(self.holder, ("voms-cms", "voms-atlas", "rogue-cms"))
        self.key = grid.people / "forge.key"
        if not self.key.exists():
            forge.new_key(self.key)

    def holder(self, name: str) -> Holder:
        return Holder.read(self.grid._files(name))

    def own_certificates(self) -> Path:
        self.certificates = shutil.copytree(self.certificates, self.directory / "certificates")
        return self.certificates

    def own_vomsdir(self) -> Path:
        self.vomsdir = shutil.copytree(self.vomsdir, self.directory / "vomsdir")
        return self.vomsdir

    def lsc(self) -> Path:
        return self.vomsdir / "cms" / "voms-cms.example.org.lsc"

    def verify(self, path: Path, *, limited_allowed=False, seconds=10, caller_uid=None, **accepted):
        return verify_proxy(
            path,
            certificates=self.certificates,
            vomsdir=self.vomsdir,
            limited_allowed=limited_allowed,
            seconds=seconds,
            caller_uid=caller_uid,
            accepted=Accepted(**accepted),
        )

    def write(self, *holders: Holder) -> Path:
        return forge.write(self.directory / "proxy.pem", *holders)

    def proxy_with(self, *attribute_certificates: bytes) -> Path:
        """A proxy of anna that carries these attribute certificates."""
        return self.write(forge.proxy(self.anna, self.key, attributes(*attribute_certificates)), self.anna)

    def refusal(self, path: Path, reason: str, **options) -> str:
        with pytest.raises(Refused) as caught:
            self.verify(path, **options)
        assert caught.value.reason == reason, caught.value
        assert str(path) in caught.value.detail
        return caught.value.detail


@contextmanager
def readable_by_all():
    """A directory that the verifier, being nobody, can reach: pytest's own are for their owner alone."""
    with TemporaryDirectory(prefix="gridwarden-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="session")
def made():
    with readable_by_all() as directory:
        grid = Grid(directory)
        grid.make()
        yield grid


@pytest.fixture
def trust(made):
    with readable_by_all() as directory:
        yield Trust(made, directory)


# What is believed


def test_a_good_proxy_gives_its_person_and_fqans_in_their_order(trust):
    path = trust.grid.proxy(BELA, trust.directory / "proxy.pem")
    person = trust.verify(path)
    assert (person.scheme, person.subject) == ("x509", BELA.subject)
    assert (person.vo, person.fqans) == ("cms", BELA.fqans)
    assert person.credential.endswith("/DC=org/DC=example/CN=Example Grid CA")
    assert not person.limited
    assert 11 * HOUR < person.not_after - time.time() < 13 * HOUR


def test_a_proxy_without_attributes_still_names_its_person(trust):
    person = trust.verify(trust.write(forge.proxy(trust.anna, trust.key), trust.anna))
    assert (person.subject, person.vo, person.fqans) == (ANNA.subject, "", ())


def test_attributes_are_found_in_a_proxy_that_was_delegated_again(trust):
    first = forge.proxy(trust.anna, trust.key, attributes(attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",))))
    second = forge.proxy(first, trust.key)
    third = forge.proxy(second, trust.key)
    # Only the leaf's place in the file matters.
    assert trust.verify(trust.write(third, trust.anna, first, second)).fqans == ("/cms",)


def test_the_attributes_nearest_to_the_job_count(trust):
    cms = attributes(attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",)))
    atlas = attributes(attribute_certificate(trust.anna, trust.atlas, ATLAS, ("/atlas",)))
    first = forge.proxy(trust.anna, trust.key, cms)
    assert trust.verify(trust.write(forge.proxy(first, trust.key, atlas), first, trust.anna)).fqans == ("/atlas",)


def test_attributes_of_two_vos_keep_their_order(trust):
    path = trust.proxy_with(
        attribute_certificate(trust.anna, trust.atlas, ATLAS, ("/atlas",)),
        attribute_certificate(trust.anna, trust.cms, CMS, ("/cms/Role=pilot", "/cms")),
    )
    person = trust.verify(path)
    assert (person.vo, person.fqans) == ("atlas", ("/atlas", "/cms/Role=pilot", "/cms"))


def test_an_identity_ends_with_the_first_of_its_parts(trust):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), validity=(-HOUR, 600))
    assert trust.verify(trust.proxy_with(ac)).not_after < time.time() + 700


def test_a_server_listed_with_its_whole_chain_is_known(trust):
    trust.own_vomsdir()
    trust.lsc().write_text(f"/CN=other\n/CN=other CA\n------ NEXT CHAIN ------\n\n{trust.lsc().read_text()}")
    assert trust.verify(trust.grid.proxy(BELA, trust.directory / "proxy.pem")).vo == "cms"


def test_names_beyond_ascii_are_spelled_as_lcmaps_does(trust):
    subject = extended(trust.anna.subject, common_name("Ännä".encode()))
    person = forge.certificate(trust.authority, trust.key, subject)
    identity = trust.verify(trust.write(forge.proxy(person, trust.key), person))
    assert identity.subject == ANNA.subject + r"/CN=\xC3\x84nn\xC3\xA4"


# Limited, old and unknown kinds of proxy


def test_a_limited_proxy_starts_jobs_only_where_the_site_says_so(trust):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem", "limited")
    assert "limited" in trust.refusal(path, reasons.CREDENTIAL_LIMITED)
    assert trust.verify(path, limited_allowed=True).limited


def test_a_limited_proxy_does_not_become_a_full_one_by_delegation(trust):
    limited = forge.proxy(trust.anna, trust.key, language=forge.LIMITED)
    full = forge.proxy(limited, trust.key)
    trust.refusal(trust.write(full, limited, trust.anna), reasons.CREDENTIAL_LIMITED)


@pytest.mark.parametrize("language", [forge.INDEPENDENT, "1.3.6.1.5.5.7.21.0", "1.2.3.4"])
def test_a_proxy_with_rights_of_its_own_is_not_taken_for_its_maker(trust, language):
    path = trust.write(forge.proxy(trust.anna, trust.key, language=language), trust.anna)
    trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_proxy_with_restricted_rights_is_not_taken_for_a_full_one(trust):
    restricted = forge.proxy_information(policy=b"read only")
    subject = extended(trust.anna.subject, common_name(b"1"))
    proxy = forge.certificate(trust.anna, trust.key, subject, (restricted,))
    trust.refusal(trust.write(proxy, trust.anna), reasons.CREDENTIAL_MALFORMED)


@pytest.mark.parametrize("word", [b"proxy", b"limited proxy"])
def test_proxies_from_before_the_standard_are_refused_by_name(trust, word):
    proxy = forge.certificate(trust.anna, trust.key, extended(trust.anna.subject, common_name(word)))
    assert "RFC 3820" in trust.refusal(trust.write(proxy, trust.anna), reasons.CREDENTIAL_MALFORMED)


def test_somebodys_own_certificate_is_not_a_credential_to_leave_on_a_disk(trust):
    assert "not a proxy" in trust.refusal(trust.write(trust.anna), reasons.CREDENTIAL_MALFORMED)


# Chains that do not hold


def test_an_expired_proxy_is_refused_with_its_date(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key, validity=(-2 * HOUR, -HOUR)), trust.anna)
    assert "expired on 20" in trust.refusal(path, reasons.CREDENTIAL_EXPIRED)


def test_a_proxy_of_tomorrow_is_refused_today(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key, validity=(HOUR, 2 * HOUR)), trust.anna)
    assert "not valid before 20" in trust.refusal(path, reasons.CREDENTIAL_EXPIRED)


def test_somebody_with_an_unknown_authority_is_told_which(trust):
    other = forge.certificate(trust.rogue, trust.key, extended(b"\x30\x00", common_name(b"Nowhere CA")))
    person = forge.certificate(other, trust.key, trust.anna.subject)
    detail = trust.refusal(trust.write(forge.proxy(person, trust.key), person), reasons.CREDENTIAL_UNTRUSTED)
    assert "/CN=Nowhere CA" in detail and str(trust.certificates) in detail


def test_an_authority_that_only_bears_the_name_is_not_trusted(trust):
    person = forge.certificate(trust.rogue, trust.key, trust.anna.subject)
    for others in ((person,), (person, trust.rogue)):
        trust.refusal(trust.write(forge.proxy(person, trust.key), *others), reasons.CREDENTIAL_UNTRUSTED)


def test_a_proxy_signed_with_another_persons_key_is_refused(trust):
    stolen = Holder(trust.anna.certificate, trust.bela.key)
    trust.refusal(trust.write(forge.proxy(stolen, trust.key), trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_a_proxy_that_does_not_carry_its_makers_name_is_refused(trust):
    subject = extended(trust.bela.subject, common_name(b"1"))
    proxy = forge.certificate(trust.anna, trust.key, subject, (forge.proxy_information(),))
    trust.refusal(trust.write(proxy, trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_a_proxy_cannot_give_itself_two_more_names(trust):
    subject = extended(trust.anna.subject, common_name(b"1"), common_name(b"2"))
    proxy = forge.certificate(trust.anna, trust.key, subject, (forge.proxy_information(),))
    trust.refusal(trust.write(proxy, trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_a_person_cannot_make_other_persons(trust):
    person = forge.certificate(trust.anna, trust.key, trust.bela.subject)
    trust.refusal(trust.write(forge.proxy(person, trust.key), person, trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_a_proxy_cannot_make_persons(trust):
    proxy = forge.proxy(trust.anna, trust.key)
    person = forge.certificate(proxy, trust.key, extended(proxy.subject, common_name(b"Bela")))
    path = trust.write(forge.proxy(person, trust.key), person, proxy, trust.anna)
    trust.refusal(path, reasons.CREDENTIAL_UNTRUSTED)


def test_an_authority_does_not_make_proxies_of_itself(trust):
    trust.refusal(trust.write(forge.proxy(trust.authority, trust.key)), reasons.CREDENTIAL_UNTRUSTED)


def test_a_persons_certificate_that_says_it_is_an_authority_makes_no_proxies(trust):
    authority = forge.extension("2.5.29.19", forge.sequence(forge.tlv(der.BOOLEAN, b"\xff")), critical=True)
    person = forge.certificate(trust.authority, trust.key, trust.anna.subject, (authority,))
    trust.refusal(trust.write(forge.proxy(person, trust.key), person), reasons.CREDENTIAL_UNTRUSTED)


def test_a_signature_that_can_be_forged_does_not_count(trust):
    subject = extended(trust.anna.subject, common_name(b"1"))
    weak = forge.certificate(trust.anna, trust.key, subject, (forge.proxy_information(),), signature=forge.SHA1_RSA)
    trust.refusal(trust.write(weak, trust.anna), reasons.CREDENTIAL_UNTRUSTED)


def test_a_proxy_with_its_kind_stated_twice_is_refused(trust):
    subject = extended(trust.anna.subject, common_name(b"1"))
    both = (forge.proxy_information(forge.LIMITED), forge.proxy_information())
    with pytest.raises(Refused):
        trust.verify(trust.write(forge.certificate(trust.anna, trust.key, subject, both), trust.anna))


@pytest.mark.parametrize("values", [(b"Anna/CN=Bela",), (b"a\\xE4",), (b"Bela\0",), (b"Bela\n",), (b"Anna", b"Bela")])
def test_a_name_that_could_be_read_as_another_is_refused(trust, values):
    person = forge.certificate(trust.authority, trust.key, extended(trust.anna.subject, common_name(*values)))
    path = trust.write(forge.proxy(person, trust.key), person)
    detail = trust.refusal(path, reasons.CREDENTIAL_MALFORMED)
    assert detail.isprintable()


# Revocation


def revoke(trust: Trust, *names: str, options: tuple[str, ...] = ()) -> None:
    """Put a new revocation list of the authority, with these people on it, into a copy of its directory."""
    certificates = trust.own_certificates()
    work = shutil.copytree(trust.grid._work, trust.directory / "authority")
    configuration = (work / "revocation.conf").read_text().replace(str(trust.grid._work), str(work))
    (work / "revocation.conf").write_text(configuration)
    command = [
        "openssl",
        "ca",
        "-config",
        work / "revocation.conf",
        "-keyfile",
        work / "ca.key",
        "-cert",
        work / "ca.pem",
    ]
    for name in names:
        subprocess.run([*command, "-revoke", work / f"{name}.pem"], check=True, capture_output=True)
    subprocess.run([*command, "-gencrl", *options, "-out", work / "ca.crl"], check=True, capture_output=True)
    for path in certificates.glob("*.r0"):
        shutil.copyfile(work / "ca.crl", path)


def test_a_revoked_person_is_refused_and_others_are_not(trust):
    revoke(trust, "anna")
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    assert ANNA.subject in trust.refusal(path, reasons.CREDENTIAL_REVOKED)
    assert trust.verify(trust.write(forge.proxy(trust.bela, trust.key), trust.bela)).subject == BELA.subject


def test_a_revoked_voms_server_grants_nothing(trust):
    revoke(trust, "voms-cms")
    path = trust.proxy_with(attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",)))
    trust.refusal(path, reasons.VOMS_UNTRUSTED)


def test_a_revocation_list_out_of_date_lets_nobody_in(trust):
    revoke(trust, options=("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z"))
    detail = trust.refusal(trust.write(forge.proxy(trust.anna, trust.key), trust.anna), reasons.CREDENTIAL_UNTRUSTED)
    assert ".r0" in detail and "out of date" in detail


@pytest.mark.parametrize("content", ["", "-----BEGIN X509 CRL-----\nMII\n-----END X509 CRL-----\n"])
def test_a_damaged_revocation_list_is_not_the_same_as_none(trust, content):
    for path in trust.own_certificates().glob("*.r0"):
        path.write_text(content)
    detail = trust.refusal(trust.write(forge.proxy(trust.anna, trust.key), trust.anna), reasons.CREDENTIAL_UNTRUSTED)
    assert ".r0" in detail and "cannot be used" in detail


def test_an_authority_that_issues_no_revocation_list_is_still_trusted(trust):
    for path in trust.own_certificates().glob("*.r0"):
        path.unlink()
    assert trust.verify(trust.write(forge.proxy(trust.anna, trust.key), trust.anna)).subject == ANNA.subject


# Attributes that nobody granted


def test_attributes_signed_by_an_impostor_are_refused(trust):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem", "forged")
    trust.refusal(path, reasons.VOMS_FORGED)


def test_an_impostor_who_ships_his_own_authority_is_refused_too(trust):
    trust.own_vomsdir()
    server, authority = trust.lsc().read_text().splitlines()
    shipped = (trust.rogue_cms.certificate, trust.rogue.certificate)
    path = trust.proxy_with(attribute_certificate(trust.anna, trust.rogue_cms, CMS, ("/cms",), certificates=shipped))
    for listing in ((server, authority), (server, authority, authority, authority)):
        trust.lsc().write_text("\n".join(listing) + "\n")
        trust.refusal(path, reasons.VOMS_FORGED)


def test_the_machines_own_authorities_do_not_count_for_attributes(trust, monkeypatch):
    bundle = trust.grid._files("rogue").certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(bundle.parent))
    path = trust.proxy_with(attribute_certificate(trust.anna, trust.rogue_cms, CMS, ("/cms",)))
    trust.refusal(path, reasons.VOMS_FORGED)


def test_attributes_out_of_date_are_refused_with_the_date(trust):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem", "acexpired")
    assert "expired on 20" in trust.refusal(path, reasons.VOMS_EXPIRED)


def test_attributes_of_tomorrow_are_refused_today(trust):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), validity=(HOUR, 2 * HOUR))
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_EXPIRED)


def test_one_bad_attribute_certificate_of_two_spoils_both(trust):
    good = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",))
    bad = attribute_certificate(trust.anna, trust.atlas, ATLAS, ("/atlas",), validity=(-2 * HOUR, -HOUR))
    for order in ((good, bad), (bad, good)):
        trust.refusal(trust.proxy_with(*order), reasons.VOMS_EXPIRED)


def test_another_persons_attributes_cannot_be_grafted_on_a_proxy(trust):
    ac = attribute_certificate(trust.bela, trust.cms, CMS, ("/cms/Role=pilot",))
    assert "another person" in trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_the_same_serial_of_another_authority_is_another_person(trust):
    nowhere = forge.certificate(trust.rogue, trust.key, extended(b"\x30\x00", common_name(b"Nowhere CA")))
    serial = int.from_bytes(der.only(trust.anna.serial, der.INTEGER), "big")
    other = forge.certificate(nowhere, trust.key, trust.bela.subject, serial=serial)
    assert other.serial == trust.anna.serial
    ac = attribute_certificate(other, trust.cms, CMS, ("/cms",))
    assert "another person" in trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_a_changed_fqan_breaks_the_signature(trust):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms/Role=users",))
    path = trust.proxy_with(ac.replace(b"/cms/Role=users", b"/cms/Role=pilot"))
    assert "not signed" in trust.refusal(path, reasons.VOMS_FORGED)


@pytest.mark.parametrize("spare_bits", [1, 7, 8])
def test_a_signature_that_cannot_be_checked_is_no_signature(trust, spare_bits):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), spare_bits=spare_bits)
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


@pytest.mark.parametrize("algorithm", ["1.2.3.4", "1.2.840.113549.1.1.4", forge.SHA1_RSA])
def test_an_unknown_or_weak_signature_algorithm_is_no_signature(trust, algorithm):
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), signature=algorithm)
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_anybody_with_a_certificate_is_not_a_voms_server(trust):
    ac = attribute_certificate(trust.anna, trust.anna, CMS, ("/cms/Role=pilot",))
    assert "LSC" in trust.refusal(trust.proxy_with(ac), reasons.VOMS_UNTRUSTED)


def test_anna_cannot_sign_behind_the_servers_certificate(trust):
    signer = Holder(trust.cms.certificate, trust.anna.key)
    ac = attribute_certificate(trust.anna, signer, CMS, ("/cms/Role=pilot",))
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_a_vos_server_cannot_speak_for_another_vo(trust):
    for uri, fqan, reason in (
        (CMS, "/atlas/Role=production", reasons.VOMS_FORGED),
        (CMS, "/cmsplus", reasons.VOMS_FORGED),
        (ATLAS, "/atlas", reasons.VOMS_UNTRUSTED),
        ("atlas://voms-cms.example.org:15000", "/atlas", reasons.VOMS_UNTRUSTED),
    ):
        trust.refusal(trust.proxy_with(attribute_certificate(trust.anna, trust.cms, uri, (fqan,))), reason)


@pytest.mark.parametrize("where", ["cms://../../{}:1", "cms://{}:1", "../{}://voms:1", "cms://..:1"])
def test_nobody_brings_a_list_of_trusted_servers_along(trust, where):
    own = trust.directory / "own"
    own.with_suffix(".lsc").write_text(f"{ANNA.subject}\n/DC=org/DC=example/CN=Example Grid CA\n")
    uri = where.format(f"../../../../../../..{own}")
    fqan = f"/{uri.partition('://')[0]}/Role=pilot"
    trust.refusal(trust.proxy_with(attribute_certificate(trust.anna, trust.anna, uri, (fqan,))), reasons.VOMS_FORGED)


def test_attributes_meant_for_other_machines_are_refused(trust):
    target = forge.extension(forge.TARGETS, forge.sequence())
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), extensions=(target,))
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_attributes_with_an_unknown_restriction_are_refused(trust):
    unknown = forge.extension("1.2.3.4", b"\x05\x00", critical=True)
    ac = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms",), extensions=(unknown,))
    trust.refusal(trust.proxy_with(ac), reasons.VOMS_FORGED)


def test_a_vo_that_the_site_does_not_know_is_named_with_the_file_that_is_missing(trust):
    trust.own_vomsdir()
    trust.lsc().unlink()
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    assert str(trust.lsc()) in trust.refusal(path, reasons.VOMS_UNTRUSTED)


@pytest.mark.parametrize("listing", ["", "\n", "------ NEXT CHAIN ------\n", "{server}\n"])
def test_a_list_of_servers_without_an_authority_trusts_nobody(trust, listing):
    trust.own_vomsdir()
    trust.lsc().write_text(listing.format(server=trust.lsc().read_text().splitlines()[0]))
    trust.refusal(trust.grid.proxy(ANNA, trust.directory / "proxy.pem"), reasons.VOMS_UNTRUSTED)


def test_no_damage_to_attributes_is_read_as_attributes(trust):
    """Ten thousand spoilt copies: each is refused with a ValueError, or its signature does not hold."""
    whole = attribute_certificate(trust.anna, trust.cms, CMS, ("/cms/Role=pilot",))
    server, original = x509.from_der(trust.cms.certificate), voms.AttributeCertificate(whole)
    assert voms._signed_by(server, original)
    chance = random.Random(20260101)
    for _ in range(10_000):
        spoilt = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        spoilt = spoilt[: chance.choice((None, None, chance.randrange(len(spoilt))))]
        try:
            read = voms.AttributeCertificate(bytes(spoilt))
        except ValueError:
            continue
        untouched = (read.signed, read.signature) == (original.signed, original.signature)
        assert untouched or not voms._signed_by(server, read)


# Files that are no credentials


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 1000,
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" * 9000,
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"MIIC" * 60000 + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"MIAw" * 30000 + b"\n-----END CERTIFICATE-----\n",
        os.urandom(100_000),
    ],
)
def test_rubbish_is_refused_as_rubbish(trust, content):
    path = trust.directory / "proxy.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_credential_cut_short_anywhere_is_refused(trust):
    whole = trust.write(forge.proxy(trust.anna, trust.key), trust.anna).read_bytes()
    path = trust.directory / "short.pem"
    for length in range(0, len(whole) - 1, len(whole) // 12):
        path.write_bytes(whole[:length])
        path.chmod(0o600)
        with pytest.raises(Refused):
            trust.verify(path)


def test_a_hundred_certificates_are_refused_before_they_are_read(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), *[trust.anna] * 100)
    assert "more than 64" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_chain_of_sixty_proxies_is_refused(trust):
    chain = [trust.anna]
    for _ in range(60):
        chain.insert(0, forge.proxy(chain[0], trust.key))
    trust.refusal(trust.write(*chain), reasons.CREDENTIAL_UNTRUSTED)


# Files that are not the caller's to name


def test_a_credential_that_others_can_read_is_refused_with_the_mode(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    for mode in (0o640, 0o604, 0o620, 0o644):
        path.chmod(mode)
        assert f"{mode:04o}" in trust.refusal(path, reasons.CREDENTIAL_EXPOSED)


@as_root
def test_root_does_not_use_a_credential_that_somebody_else_owns(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    os.chown(path, SOMEBODY, SOMEBODY)
    trust.refusal(path, reasons.CREDENTIAL_EXPOSED)


def test_only_a_plain_file_with_one_name_is_a_credential(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    link, pipe, directory, nothing = (trust.directory / name for name in ("link", "pipe", "directory", "nothing"))
    link.symlink_to(path)
    os.mkfifo(pipe, 0o600)
    directory.mkdir()
    for wrong in (link, pipe, directory, nothing, Path("/dev/null")):
        trust.refusal(wrong, reasons.CREDENTIAL_UNREADABLE)
    os.link(path, trust.directory / "second")
    trust.refusal(path, reasons.CREDENTIAL_UNREADABLE)
    with pytest.raises(Refused, match=reasons.CREDENTIAL_UNREADABLE):
        credential_file.read("a\0b")


def test_a_credential_of_any_size_does_not_fill_the_memory(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    os.truncate(path, 10**12)
    assert "262144" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


@pytest.fixture
def somebodys(trust):
    home = trust.directory / "home"
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)
    return home


@as_root
def test_root_reads_a_callers_own_credential(trust, somebodys):
    path = shutil.move(trust.write(forge.proxy(trust.anna, trust.key), trust.anna), somebodys / "proxy.pem")
    os.chown(path, SOMEBODY, SOMEBODY)
    assert trust.verify(path, caller_uid=SOMEBODY).subject == ANNA.subject
    path.chmod(0o640)
    trust.refusal(path, reasons.CREDENTIAL_EXPOSED, caller_uid=SOMEBODY)


@as_root
def test_root_reads_no_file_for_a_caller_who_may_not_read_it(trust, somebodys):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    trust.refusal(path, reasons.CREDENTIAL_UNREADABLE, caller_uid=SOMEBODY)
    (somebodys / "link").symlink_to("/etc/shadow")
    trust.refusal(somebodys / "link", reasons.CREDENTIAL_UNREADABLE, caller_uid=SOMEBODY)
    (somebodys / "to").symlink_to("/etc")
    trust.refusal(somebodys / "to" / "shadow", reasons.CREDENTIAL_UNREADABLE, caller_uid=SOMEBODY)


@pytest.mark.parametrize("uid", ["anna", "-5", "²", "4294967295", "9" * 5000])
def test_a_caller_whom_sudo_does_not_name_by_a_users_number_is_refused(monkeypatch, uid):
    monkeypatch.setenv("SUDO_UID", uid)
    with pytest.raises(Refused, match="which is no user's number") as caught:
        credential_file.caller_uid()
    assert caught.value.reason == reasons.CREDENTIAL_UNREADABLE


@as_root
def test_a_caller_who_swaps_the_file_gets_nothing_of_another(somebodys):
    """The name flips between the caller's file and a link to /etc/shadow while root reads it."""
    own = somebodys / "own"
    own.write_text("mine")
    own.chmod(0o600)
    os.chown(own, SOMEBODY, SOMEBODY)
    name = somebodys / "name"
    flip = (
        "import os, sys\n"
        "own, name, other = sys.argv[1:]\n"
        "while True:\n"
        "    for make in (lambda: os.rename(own, name), lambda: (os.rename(name, own), os.symlink('/etc/shadow', name))):\n"
        "        make()\n"
        "    os.unlink(name)\n"
    )
    flipping = subprocess.Popen([sys.executable, "-c", flip, own, name, "/etc/shadow"])
    try:
        seen = set()
        for _ in range(60):  # where links were followed, a third of them would be another's
            try:
                seen.add(credential_file.read(name, SOMEBODY))
            except Refused as refusal:
                seen.add(refusal.reason)
    finally:
        flipping.kill()
        flipping.wait()
    assert seen <= {b"mine", reasons.CREDENTIAL_UNREADABLE}


# The site's own files


def test_a_missing_authorities_directory_is_named_and_not_blamed_on_the_person(trust):
    trust.certificates = trust.directory / "nowhere"
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    with pytest.raises(ConfigurationError, match=str(trust.certificates)):
        trust.verify(path)


@pytest.mark.parametrize("name", ["certificates", "vomsdir"])
def test_nobody_is_believed_by_a_directory_that_others_can_write(trust, name):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    directory = {"certificates": trust.own_certificates, "vomsdir": trust.own_vomsdir}[name]()
    directory.chmod(0o777)
    with pytest.raises(ConfigurationError, match=rf"/{name}: can be written by others \(mode 0777\)") as caught:
        trust.verify(path)
    assert caught.value.hint == f"chmod go-w {directory}"


@pytest.mark.parametrize("pattern", ["*.0", "*.r0", "*.signing_policy", "cms/*.lsc", "cms"])
def test_nobody_is_believed_by_a_file_that_others_can_write(trust, pattern):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    directory = trust.own_vomsdir() if "cms" in pattern else trust.own_certificates()
    assert trust.verify(path).subject == ANNA.subject
    for file in directory.glob(pattern):
        file.chmod(file.stat().st_mode | 0o020)
    with pytest.raises(
        ConfigurationError, match=rf"/{pattern.replace('*', '[^/]*')}: can be written by others"
    ) as caught:
        trust.verify(path)
    assert caught.value.hint.startswith(f"chmod go-w {directory}/")


@as_root
@pytest.mark.parametrize("owner", [1, 65534])  # the verifier itself is 65534: whoever is that decides nothing
def test_nobody_is_believed_by_a_file_of_somebody_else(trust, owner):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    for file in trust.own_certificates().glob("*.r0"):
        os.chown(file, owner, owner)
    with pytest.raises(ConfigurationError, match=rf"\.r0: belongs to uid {owner}"):
        trust.verify(path)


@pytest.mark.parametrize("name", ["certificates", "vomsdir/cms"])
def test_nobody_is_believed_by_a_directory_in_which_all_make_files(trust, name):
    """The sticky bit guards what is there; a second authority of the same name could come, be read, and go."""
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    directory = trust.own_vomsdir() / "cms" if "cms" in name else trust.own_certificates()
    directory.chmod(0o1777)
    with pytest.raises(ConfigurationError, match=rf"/{name}: can be written by others \(mode 1777\)"):
        trust.verify(path)


def test_a_directory_that_is_opened_to_others_is_seen_by_the_next_verification(trust):
    files = [str(file) for file in trust.own_certificates().glob("*.0")]
    before = SiteFiles()
    for file in files:
        before.require_trusted(file)
    trust.certificates.chmod(0o777)
    for file in files:
        with pytest.raises(ConfigurationError, match="/certificates: can be written by others"):
            SiteFiles().require_trusted(file)


def test_a_file_that_is_opened_to_others_is_seen_by_the_same_verification(trust):
    first, *_ = trust.own_certificates().glob("*.0")
    files = SiteFiles()
    files.require_trusted(str(first))
    first.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"\.0: can be written by others"):
        files.require_trusted(str(first))


def test_authorities_may_be_links_and_what_they_lead_to_is_looked_at(trust):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    elsewhere = trust.directory / "elsewhere"
    elsewhere.mkdir()
    (trust.directory / "way").symlink_to("elsewhere")
    for file in trust.own_certificates().glob("*.*"):
        file.rename(elsewhere / file.name)
        file.symlink_to(f"../way/{file.name}")
    assert trust.verify(path).subject == ANNA.subject
    elsewhere.chmod(0o777)
    with pytest.raises(ConfigurationError, match="/elsewhere: can be written by others"):
        trust.verify(path)


def test_an_authorities_directory_without_authorities_is_named(trust):
    trust.certificates = trust.directory / "empty"
    trust.certificates.mkdir()
    with pytest.raises(ConfigurationError, match=str(trust.certificates)):
        trust.verify(trust.write(forge.proxy(trust.anna, trust.key), trust.anna))


@as_root
def test_site_files_that_the_verifier_may_not_read_are_named(trust):
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    trust.own_vomsdir()
    trust.lsc().chmod(0o600)
    with pytest.raises(ConfigurationError, match=str(trust.lsc())) as caught:
        trust.verify(path)
    assert f"chmod a+r {trust.lsc()}" in caught.value.hint
    for authority in trust.own_certificates().glob("*.0"):
        authority.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"\.0: the verifier"):
        trust.verify(path)
    trust.certificates.chmod(0o700)
    with pytest.raises(ConfigurationError, match=str(trust.certificates)):
        trust.verify(path)


# The verifier process


def test_a_verification_that_hangs_is_ended_and_refused(trust):
    for authority in trust.own_certificates().glob("*.0"):
        authority.unlink()
        os.mkfifo(authority, 0o644)
    path = trust.grid.proxy(ANNA, trust.directory / "proxy.pem")
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    trust.refusal(path, reasons.CREDENTIAL_TIMEOUT, seconds=1)
    assert children.read_text() == before


def test_a_verifier_that_cannot_start_is_no_verdict_on_the_person(trust, monkeypatch):
    monkeypatch.setattr(verifying, "_CODE", "/nonexistent")
    with pytest.raises(Unavailable, match="did not start"):
        trust.verify(trust.write(forge.proxy(trust.anna, trust.key), trust.anna))


@as_root
def test_whoever_takes_the_verifier_over_can_do_nothing_with_it(tmp_path):
    """What it can do once confined, tried out."""
    attempts = """
import os, sys, _socket
sys.path.append(sys.argv[1])
from gridwarden.mapper.confine import confine
confine(2)
def works(what):
    try:
        what()
    except (OSError, MemoryError):
        return "no"
    return "yes"
print(*os.getresuid(), *os.getresgid(), len(os.getgroups()))
print("root again", works(lambda: os.setuid(0)))
print("shadow", works(lambda: open("/etc/shadow")))
print("fork", works(os.fork))
print("write", works(lambda: os.write(os.open("/dev/shm/gridwarden-confined", os.O_CREAT | os.O_WRONLY), b"x")))
print("network", works(lambda: _socket.socket(2, 1, 0).connect(("127.0.0.1", int(sys.argv[2])))))
print("local sockets", works(lambda: _socket.socket(1, 1, 0)))
import ctypes
print("namespaces", ctypes.CDLL(None).unshare(0x10000000))
print("an open file", works(lambda: os.write(int(sys.argv[3]), b"x")))
print("memory", works(lambda: bytearray(1 << 30)))
print("privileges", open("/proc/self/status").read().partition("NoNewPrivs:")[2].split()[0])
print("a new file", works(lambda: os.open("/dev/shm/gridwarden-confined", os.O_CREAT)))
print("a new directory", works(lambda: os.mkdir("/dev/shm/gridwarden-confined.d")))
print("a new link", works(lambda: os.symlink("x" * 3000, "/dev/shm/gridwarden-confined.l")))
print("a signal", works(lambda: os.kill(int(sys.argv[4]), 9)))
"""
    import socket  # noqa: PLC0415 - used by this test alone

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "open").open("wb") as ours,
        subprocess.Popen(["/bin/sleep", "60"], user=65534, group=65534, extra_groups=[]) as victim,
    ):
        port = str(server.getsockname()[1])
        told = subprocess.run(
            [sys.executable, "-ISB", "-c", attempts, verifying._CODE, port, str(ours.fileno()), str(victim.pid)],
            capture_output=True,
            text=True,
            check=True,
            pass_fds=[ours.fileno()],
        ).stdout.splitlines()
        victim.kill()
    Path("/dev/shm/gridwarden-confined").unlink(missing_ok=True)
    Path("/dev/shm/gridwarden-confined.l").unlink(missing_ok=True)
    shutil.rmtree("/dev/shm/gridwarden-confined.d", ignore_errors=True)
    landlock = ctypes.CDLL(None).syscall(444, None, ctypes.c_ulong(0), ctypes.c_ulong(1))  # its version
    seen = "no" if landlock >= 1 else "yes"
    assert told == [
        "65534 65534 65534 65534 65534 65534 0",
        "root again no",
        "shadow no",
        "fork no",
        "write no",
        "network no",
        "local sockets no",
        "namespaces -1",
        "an open file no",
        "memory no",
        "privileges 1",
        f"a new file {seen}",
        f"a new directory {seen}",
        f"a new link {seen}",
        f"a signal {'no' if landlock >= 6 else 'yes'}",
    ]


def test_a_verifier_that_is_kept_busy_ends_even_when_nobody_waits_for_it():
    busy = "import sys; sys.path.append(sys.argv[1]); from gridwarden.mapper.confine import confine; confine(1)\nwhile 1: 0"
    done = subprocess.run([sys.executable, "-ISB", "-c", busy, verifying._CODE], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def key_of(path: Path) -> str:
    return next("-----BEGIN " + block for block in path.read_text().split("-----BEGIN ") if "PRIVATE KEY" in block)


def with_key(trust: Trust, key: Callable[[str], str]) -> Path:
    """A proxy of anna whose key is replaced by what ``key`` makes of it."""
    path = trust.directory / "proxy.pem"
    trust.grid.proxy(ANNA, path)
    path.write_text(path.read_text().replace(key_of(path), key(key_of(path))))
    return path


def test_a_chain_without_its_key_proves_nothing(trust):
    path = with_key(trust, lambda _: "")
    assert "the private key of" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_chain_with_somebody_elses_key_proves_nothing(trust):
    other = trust.directory / "other.pem"
    trust.grid.proxy(BELA, other)
    path = with_key(trust, lambda _: key_of(other))
    assert "the private key of" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def der_of(key: str, *options: str) -> bytes:
    command = ["openssl", "pkey", "-outform", "DER", *options]
    return subprocess.run(command, input=key.encode(), capture_output=True, check=True).stdout


def pem_of(kind: str, key: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(key).decode()}-----END {kind}-----\n"


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY"])
def test_each_form_of_an_rsa_key_proves_its_holder(trust, kind):
    path = with_key(trust, lambda key: pem_of(kind, der_of(key, *["-traditional"] * kind.startswith("RSA"))))
    assert trust.verify(path).subject == ANNA.subject


@pytest.mark.parametrize("first", [0, 1, 3, None])  # None: the modulus itself, times 1
@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY"])
def test_a_key_made_up_around_the_public_half_proves_nothing(trust, kind, first):
    """Whoever saw the chain can make one that libcrypto takes for the certificate's own."""

    def made_up(key: str) -> str:
        version, modulus, exponent, *_ = der.sequence(der_of(key, "-traditional"))
        factors = [forge.integer(first), forge.integer(5)] if first is not None else [modulus.whole, forge.integer(1)]
        rest = [forge.integer(number) for number in (7, 11, 13)]
        fake = forge.sequence(version.whole, modulus.whole, exponent.whole, forge.integer(99), *factors, *rest)
        if kind == "PRIVATE KEY":
            named = forge.sequence(forge.oid("1.2.840.113549.1.1.1"), forge.tlv(0x05))
            fake = forge.sequence(forge.integer(0), named, forge.tlv(der.OCTET_STRING, fake))
        return pem_of(kind, fake)

    path = with_key(trust, made_up)
    assert "the private key of" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_an_elliptic_key_made_up_around_the_public_half_proves_nothing(trust):
    path = trust.write(forge.proxy(trust.anna, trust.key), trust.anna)
    assert trust.verify(path).subject == ANNA.subject
    key = key_of(path)
    version, number, *public = der.sequence(der_of(key, "-traditional"))
    other = forge.tlv(der.OCTET_STRING, bytes([*number.value[:-1], number.value[-1] ^ 1]))
    fake = forge.sequence(version.whole, other, *(each.whole for each in public))
    path.write_text(path.read_text().replace(key, pem_of("EC PRIVATE KEY", fake)))
    assert "the private key of" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)


def test_a_proxy_with_another_kind_of_key_is_believed(trust):
    key = trust.directory / "ed25519.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    assert trust.verify(trust.write(forge.proxy(trust.anna, key), trust.anna)).subject == ANNA.subject


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(trust):
    def encrypted(key: str) -> str:
        command = ["openssl", "pkey", "-aes256", "-passout", "pass:secret"]
        return subprocess.run(command, input=key, capture_output=True, check=True, text=True).stdout

    path = with_key(trust, encrypted)
    assert "the private key of" in trust.refusal(path, reasons.CREDENTIAL_MALFORMED)
