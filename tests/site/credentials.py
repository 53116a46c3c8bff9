"""Makes a grid's credentials: an authority, two VOs, four people, and each person's proxies good and bad.

`python3 tests/site/credentials.py DIR` makes DIR/certificates and DIR/vomsdir (what a site trusts) and
DIR/NAME/KIND.pem (what people hold), NAME and KIND of PEOPLE and KINDS below. Needs the programs openssl and voms-proxy-fake.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

BASE = "/DC=org/DC=example"
AUTHORITY = f"{BASE}/CN=Example Grid CA"
VOS = ("cms", "atlas")
DAYS = "30"

SIGNING_POLICY = f"""\
access_id_CA X509 '{AUTHORITY}'
pos_rights globus CA:sign
cond_subjects globus '"{BASE}/*"'
"""
HOLDER_EXTENSIONS = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=clientAuth,serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
REVOCATION_CONFIGURATION = """\
[ca]
default_ca=this
[this]
database={directory}/index.txt
crlnumber={directory}/crlnumber
default_md=sha256
default_crl_days=30
"""


class Person(NamedTuple):
    """A grid user: what the directory of their credentials is called, who they are, what their VO grants."""

    name: str
    subject: str
    vo: str
    fqans: tuple[str, ...]


PEOPLE = (
    Person("anna", f"{BASE}/OU=People/CN=Anna Example", "cms", ("/cms", "/cms/analysis")),
    Person("bela", f"{BASE}/OU=People/CN=Bela Example", "cms", ("/cms/Role=pilot", "/cms")),
    Person("chen", f"{BASE}/OU=People/CN=Chen Example", "atlas", ("/atlas", "/atlas/de")),
    Person("dora", f"{BASE}/OU=People/CN=Dora Example", "atlas", ("/atlas/Role=pilot", "/atlas")),
)

# Each kind of proxy and what voms-proxy-fake is told beyond the usual to make it.
KINDS = {
    "proxy": (),
    "limited": ("-limited",),
    # The proxy itself ran out nine hours ago; its attributes are still good.
    "expired": ("-pastproxy", "10:00", "-hours", "1"),
    # The proxy is good; its attributes ran out.
    "acexpired": ("-pastac", "10:00", "-vomslife", "1"),
    # Attributes signed by an impostor that bears the VOMS server's name.
    "forged": (),
}


class Holder(NamedTuple):
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


class Grid:
    """The authority, VOMS servers and people of one grid, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.certificates = directory / "certificates"
        self.vomsdir = directory / "vomsdir"
        self.people = directory
        self._work = directory / "authority"

    def make(self) -> None:
        """Everything but the proxies."""
        for path in (self.certificates, self.vomsdir, self._work):
            path.mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            authorities = list(pool.map(self._authority, ("ca", "rogue")))
            servers = [(vo, f"voms-{vo}", authorities[0]) for vo in VOS]
            servers += [(vo, f"rogue-{vo}", authorities[1]) for vo in VOS]
            made = [pool.submit(self._holder, name, voms_subject(vo), issuer) for vo, name, issuer in servers]
            made += [pool.submit(self._holder, person.name, person.subject, authorities[0]) for person in PEOPLE]
            for one in made:
                one.result()
        self._trust(authorities[0])

    def proxy(self, person: Person, path: Path, kind: str = "proxy", fqans: tuple[str, ...] | None = None) -> Path:
        """Make one proxy of a kind of KINDS at PATH (0600), with the person's FQANs unless others are given."""
        server = self._files(f"{'rogue' if kind == 'forged' else 'voms'}-{person.vo}")
        own = self._files(person.name)
        granted = [word for fqan in fqans or person.fqans for word in ("-fqan", _full(fqan))]
        _run(
            "voms-proxy-fake", "-rfc", "-newformat", "-hours", "12", "-vomslife", "12",
            "-cert", own.certificate, "-key", own.key, "-certdir", self.certificates,
            "-hostcert", server.certificate, "-hostkey", server.key,
            "-voms", person.vo, "-uri", f"voms-{person.vo}.example.org:15000",
            *granted, *KINDS[kind], "-out", path,
        )  # fmt: skip
        path.chmod(0o600)
        return path

    def newcomer(self, name: str, vo: str) -> SimpleNamespace:
        """Somebody whom nobody has seen yet, with a proxy; as the people of the tests' fixture."""
        person = Person(name, f"{BASE}/OU=People/CN={name.capitalize()} Newcomer", vo, (f"/{vo}",))
        self._holder(name, person.subject, self._files("ca"))
        return SimpleNamespace(**person._asdict(), proxy=self.proxy(person, self._work / f"{name}-proxy.pem"))

    def _files(self, name: str) -> Holder:
        return Holder(self._work / f"{name}.pem", self._work / f"{name}.key")

    def _authority(self, name: str) -> Holder:
        files = self._files(name)
        _run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", DAYS, "-subj", AUTHORITY,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", files.key, "-out", files.certificate,
        )  # fmt: skip
        return files

    def _holder(self, name: str, subject: str, issuer: Holder) -> None:
        files = self._files(name)
        request, extensions = self._work / f"{name}.csr", self._work / f"{name}.ext"
        extensions.write_text(HOLDER_EXTENSIONS)
        _run(
            "openssl", "req", "-newkey", "rsa:2048", "-noenc", "-subj", subject,
            "-keyout", files.key, "-out", request,
        )  # fmt: skip
        files.key.chmod(0o400)
        _run(
            "openssl", "x509", "-req", "-in", request, "-CA", issuer.certificate, "-CAkey", issuer.key,
            "-days", DAYS, "-extfile", extensions, "-out", files.certificate,
        )  # fmt: skip

    def _trust(self, authority: Holder) -> None:
        """The certificates directory under both of OpenSSL's hashes, and one LSC file for each VO."""
        configuration = self._work / "revocation.conf"
        configuration.write_text(REVOCATION_CONFIGURATION.format(directory=self._work))
        (self._work / "index.txt").touch()
        (self._work / "crlnumber").write_text("01\n")
        revocations = self._work / "ca.crl"
        _run(
            "openssl", "ca", "-config", configuration, "-gencrl",
            "-keyfile", authority.key, "-cert", authority.certificate, "-out", revocations,
        )  # fmt: skip
        for option in ("-subject_hash", "-subject_hash_old"):
            digest = _run("openssl", "x509", "-in", authority.certificate, "-noout", option).strip()
            shutil.copyfile(authority.certificate, self.certificates / f"{digest}.0")
            shutil.copyfile(revocations, self.certificates / f"{digest}.r0")
            (self.certificates / f"{digest}.signing_policy").write_text(SIGNING_POLICY)
        for vo in VOS:
            (self.vomsdir / vo).mkdir()
            listing = f"{voms_subject(vo)}\n{AUTHORITY}\n"
            (self.vomsdir / vo / f"voms-{vo}.example.org.lsc").write_text(listing)


def make(directory: Path) -> Grid:
    """A whole grid below DIRECTORY, every kind of proxy for everybody."""
    grid = Grid(directory)
    grid.make()
    for person in PEOPLE:
        (grid.people / person.name).mkdir()
    with ThreadPoolExecutor() as pool:
        made = [
            pool.submit(grid.proxy, person, grid.people / person.name / f"{kind}.pem", kind)
            for person in PEOPLE
            for kind in KINDS
        ]
        for one in made:
            one.result()
    return grid


def voms_subject(vo: str) -> str:
    return f"{BASE}/OU=Hosts/CN=voms-{vo}.example.org"


def _full(fqan: str) -> str:
    """The form VOMS servers write: `/cms` is /cms/Role=NULL/Capability=NULL."""
    with_role = fqan if "/Role=" in fqan else f"{fqan}/Role=NULL"
    return f"{with_role}/Capability=NULL"


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: credentials.py DIR   (DIR must not hold credentials yet)")
    make(Path(sys.argv[1]))
