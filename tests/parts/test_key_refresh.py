"""`gridwarden token refresh` against a real https server that is not always honest."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from gridwarden.cli import gridwarden
from gridwarden.errors import Unavailable
from gridwarden.mapper.key_refresh import FETCHED, KEPT, MISSING, UNCHANGED, refresh
from gridwarden.mapper.token import verify_token
from gridwarden.mapper.token_values import Issuer, TokenValues
from tests.gridmap import make_site
from tests.tokens import HERE, Key, claims, key_set, server_certificate

pytestmark = pytest.mark.usefixtures("nothing_loaded_late")
OLD, NEW = Key.new("ES256", "k1"), Key.new("ES256", "k2")


class Web:
    """A web server whose pages a test chooses: path -> (status, body) or a function of the request."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.asked: list[str] = []
        self.pages: dict[str, object] = {}
        self.certificate = directory / "web.pem"
        key = directory / "web.key"
        server_certificate(self.certificate, key, *names)
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                page = web.pages.get(self.path, (404, b""))
                if callable(page):
                    page(self)
                    return
                status, body, *headers = page
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Cell:
    """An issuer on a web server, and what a site keeps of it."""

    def __init__(self, web: Web, directory: Path) -> None:
        self.web = web
        self.issuer = f"{web.url}/cms"
        self.file = directory / "keys" / "cms.jwks"
        issuer = Issuer(self.issuer, "wlcg", ("ES256",), (HERE,), self.file, fetched=True)
        own = issuer._replace(issuer="https://own.example.org", keys=directory / "own.jwks", fetched=False)
        self.tokens = TokenValues(issuers=(issuer, own), authorities=web.certificate, fetch_seconds=2)
        self.offer(key_set(NEW))

    def offer(self, keys: bytes, **metadata: object) -> None:
        about = {"issuer": self.issuer, "jwks_uri": f"{self.web.url}/keys", **metadata}
        self.web.pages["/cms/.well-known/openid-configuration"] = (200, json.dumps(about).encode())
        self.web.pages["/keys"] = (200, keys)

    def keep_old(self) -> bytes:
        self.file.parent.mkdir(mode=0o755)
        self.file.write_bytes(key_set(OLD))
        return self.file.read_bytes()

    def refresh(self, **options):
        (outcome,) = refresh(self.tokens, **{"dry_run": False, **options})
        return outcome


@contextmanager
def serving(*names):
    with TemporaryDirectory(prefix="gridwarden-test-") as directory:
        web = Web(Path(directory), *names)
        yield web
        web.server.shutdown()
        web.server.server_close()


@pytest.fixture(scope="module")
def web():
    with serving("localhost") as served:
        yield served


@pytest.fixture
def cell(web):
    web.pages.clear()
    web.asked.clear()
    with TemporaryDirectory(prefix="gridwarden-test-") as name:
        yield Cell(web, Path(name))


def test_new_keys_take_the_place_of_the_old_and_verify_tokens(cell):
    cell.keep_old()
    assert cell.refresh().outcome == FETCHED
    assert cell.file.stat().st_mode & 0o777 == 0o644
    site = make_site(
        cell.file.parent / "site", tokens=cell.tokens._replace(issuers=cell.tokens.issuers[:1]), verify_seconds=10
    )
    assert verify_token(NEW.sign(claims(iss=cell.issuer)), site).issuer == cell.issuer
    assert cell.refresh().outcome == UNCHANGED


def test_nobody_is_asked_but_the_issuers_whose_keys_are_not_the_sites_own(cell):
    assert [outcome.issuer for outcome in refresh(cell.tokens, dry_run=False)] == [cell.issuer]
    assert cell.web.asked == ["/cms/.well-known/openid-configuration", "/keys"]


def test_a_dry_run_keeps_nothing(cell):
    assert cell.refresh(dry_run=True).outcome == FETCHED
    assert not cell.file.exists()


def test_scitokens_metadata_are_found_too(cell):
    pages = cell.web.pages
    pages["/.well-known/oauth-authorization-server/cms"] = pages.pop("/cms/.well-known/openid-configuration")
    assert cell.refresh().outcome == FETCHED


def test_only_what_the_site_can_use_is_kept(cell):
    rsa = Key.new("RS256", "rsa")
    secret = NEW.jwk(d="c2VjcmV0")
    cell.offer(key_set(secret, rsa, {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}))
    cell.refresh()
    (kept,) = json.loads(cell.file.read_text())["keys"]
    assert kept == NEW.jwk()


def test_a_key_that_is_none_is_passed_over_and_named(cell):
    cell.offer(key_set(NEW, NEW.jwk(kid="huge", x="_" * 60)))
    outcome = cell.refresh()
    assert outcome.outcome == FETCHED
    assert "key 2, kid huge: " in outcome.detail
    assert json.loads(cell.file.read_text())["keys"] == [NEW.jwk()]
    assert "kid huge" in cell.refresh().detail


def broken(cell) -> dict[str, object]:
    def slow(request):
        time.sleep(4)

    def drip(request):
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b" ")
            time.sleep(0.1)

    metadata = json.dumps({"issuer": cell.issuer, "jwks_uri": f"{cell.web.url}/keys"}).encode()
    about = "/cms/.well-known/openid-configuration"
    return {
        "empty": {"/keys": (200, b"")},
        "no keys": {"/keys": (200, b'{"keys": []}')},
        "not JSON": {"/keys": (200, b"<html>login</html>")},
        "only other algorithms": {"/keys": (200, key_set(Key.new("RS256")))},
        "a point off its curve": {"/keys": (200, key_set(NEW.jwk(x="AQ")))},
        "names twice": {"/keys": (200, key_set(NEW)[:-1] + b', "keys": []}')},
        "too large": {"/keys": (200, key_set(NEW) + b" " * 300_000)},
        "an error": {"/keys": (500, b"")},
        "gone": {"/keys": (404, b"")},
        "a redirection": {"/keys": (302, b"", ("Location", f"{cell.web.url}/other")), "/other": (200, key_set(NEW))},
        "silence": {"/keys": slow},
        "drop by drop": {"/keys": drip},
        "another's metadata": {about: (200, metadata.replace(b"/cms", b"/atlas"))},
        "metadata without keys": {about: (200, json.dumps({"issuer": cell.issuer}).encode())},
        "keys by http": {about: (200, metadata.replace(b"https://localhost", b"http://localhost", 2).replace(b"http:", b"https:", 1))},
        "keys in a file": {about: (200, json.dumps({"issuer": cell.issuer, "jwks_uri": "file:///etc/passwd"}).encode())},
        "no metadata": {about: (404, b"")},
        "metadata too large": {about: (200, b" " * 300_000)},
    }  # fmt: skip


FAULTS = (
    "empty", "no keys", "not JSON", "only other algorithms", "a point off its curve", "names twice", "too large",
    "an error", "gone", "a redirection", "silence", "drop by drop", "another's metadata", "metadata without keys",
    "keys by http", "keys in a file", "no metadata", "metadata too large",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_keys_stay_where_the_new_ones_are_bad(cell, fault):
    old = cell.keep_old()
    cell.web.pages.update(broken(cell)[fault])
    outcome = cell.refresh()
    assert outcome.outcome == KEPT
    assert outcome.detail.isascii() and outcome.detail.isprintable() and cell.issuer in outcome.detail
    assert cell.file.read_bytes() == old
    assert "/other" not in cell.web.asked


def test_a_server_that_proves_nothing_is_not_believed(cell):
    with serving("elsewhere.example.org") as stranger_web:
        stranger = Cell(stranger_web, cell.file.parent.parent / "other")
        stranger.tokens = stranger.tokens._replace(authorities=cell.web.certificate)
        assert stranger.refresh().outcome == MISSING
        assert stranger_web.asked == []
        named_wrong = stranger.tokens._replace(authorities=stranger_web.certificate)
        (outcome,) = refresh(named_wrong, dry_run=False)
        assert (outcome.outcome, "ostname" in outcome.detail) == (MISSING, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives rights up")
def test_who_fetches_is_nobody(cell):
    owners = []

    def look(request):
        port = request.client_address[1]
        lines = Path("/proc/net/tcp").read_text().splitlines()
        owners.extend(line.split()[7] for line in lines if line.split()[1].endswith(f":{port:04X}"))
        request.send_response(404)
        request.end_headers()

    cell.web.pages["/keys"] = look
    cell.refresh()
    assert owners == ["65534"]


def test_the_command_says_what_became_of_each_and_fails_when_one_did(cell, tmp_path):
    config = cell.file.parent.parent / "site.yaml"
    config.write_text(
        json.dumps(
            {
                "site": "EXAMPLE",
                "pools": ["cms"],
                "policy": [{"fqan": "/cms", "pool": "cms"}],
                "holders_group": "daemon",
                "slurm": {"cluster": "site"},
                "directories": {"state": str(config.parent / "state"), "runtime": str(config.parent / "run")},
                "tokens": {
                    "issuers": [{"issuer": cell.issuer, "audiences": [HERE], "algorithms": ["ES256"]}],
                    "authorities": str(cell.web.certificate),
                },
            }
        )
    )
    words = ["--config", str(config), "token", "refresh", "--format", "json"]
    done = CliRunner().invoke(gridwarden, words)
    (row,) = json.loads(done.stdout)
    assert (row["issuer"], row["outcome"]) == (cell.issuer, FETCHED)
    assert Path(row["file"]).read_bytes() == key_set(NEW).replace(b", ", b",").replace(b": ", b":")
    cell.web.pages.clear()
    done = CliRunner().invoke(gridwarden, words)
    assert isinstance(done.exception, Unavailable)
    assert json.loads(done.stdout)[0]["outcome"] == KEPT
