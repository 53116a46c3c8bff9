"""What a user wrote on a command line is kept as evidence, but for the secrets in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.prune.command_line import HIDDEN, LONGEST, shown

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"


def line(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("sleep", "60"), "sleep 60"),
        (("python3", "-m", "job", "--events=1000"), "python3 -m job --events=1000"),
        (("mysql", "--password=hunter2"), f"mysql --password={HIDDEN}"),
        (("mysql", "--password", "hunter2", "db"), f"mysql --password {HIDDEN} db"),
        (("env", "DB_PASSWORD=hunter2", "x"), f"env DB_PASSWORD={HIDDEN} x"),
        (("env", "BEARER_TOKEN=abc"), f"env BEARER_TOKEN={HIDDEN}"),
        (("curl", "-H", "Authorization: Bearer abc"), f"curl -H Authorization: {HIDDEN} {HIDDEN}"),
        (("curl", "https://anna:hunter2@example.org/x"), f"curl https://{HIDDEN}@example.org/x"),
        (("curl", "https://example.org/x?a=1&token=abc"), f"curl https://example.org/x?a=1&token={HIDDEN}"),
        (("echo", JWT), f"echo {HIDDEN}"),
        (("x", f"--header={JWT}"), f"x --header={HIDDEN}"),
        (("x", "-----BEGIN RSA PRIVATE KEY-----\nMII"), f"x {HIDDEN}"),
        (("x", "glpat-1234"), f"x {HIDDEN}"),
        (("x", "wJalrXUtnFEMI0K7MDENGbPxRfiCY"), f"x {HIDDEN}"),
        (("sh", "-c", "mysql --password hunter2 db"), f"sh -c mysql --password {HIDDEN} db"),
        (("x", "--secret-access-key", "--quiet"), "x --secret-access-key --quiet"),
        (
            ("/opt/exp/v12_3/x86_64-el9-gcc13-opt/run", "PFN:/store/data/2026/A1.root"),
            "/opt/exp/v12_3/x86_64-el9-gcc13-opt/run PFN:/store/data/2026/A1.root",
        ),
    ],
)
def test_a_secret_is_hidden_and_the_rest_is_kept(words: tuple[str, ...], kept: str) -> None:
    assert shown(line(*words)) == kept


def test_arguments_that_a_program_blanked_or_wrote_over_are_shown_as_they_are() -> None:
    assert shown(b"") == ""
    assert shown(b"   \0\0\0") == "   "
    assert shown(b"sshd: anna [priv]") == "sshd: anna [priv]"


@given(st.binary(max_size=5000))
def test_no_bytes_are_too_odd_and_no_line_too_long(data: bytes) -> None:
    assert len(shown(data)) <= LONGEST


@given(
    st.from_regex(r"\A[A-Za-z0-9_-]{1,60}\Z"),
    st.sampled_from(["--token={}", "SECRET={}", "a&password={}", "Bearer {}"]),
)
def test_no_part_of_a_named_secret_is_kept(secret: str, form: str) -> None:
    text = shown(line("x", form.format("Q" + secret)))
    assert "Q" + secret not in text
