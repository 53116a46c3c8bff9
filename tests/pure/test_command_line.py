"""What a user wrote on a command line is kept as evidence, but for the secrets in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden.prune import redact
from gridwarden.prune.command_line import HIDDEN, LONGEST, shown
from gridwarden.prune.secret_names import is_secret

SECRET = "hunter2"  # noqa: S105 - it is what must go
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl"


def line(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


# A space ends a word where no word has one; each form is followed by what must be left of it.
FORMS = {
    # an option, a variable, a property
    ("mysql", "--password=hunter2"): "mysql --password=[hidden]",
    ("mysql", "--password", "hunter2", "db"): "mysql --password [hidden] db",
    ("x", "--pass", "hunter2", "file"): "x --pass [hidden] file",
    ("x", "--password=hunter2 and hunter2", "file"): "x --password=[hidden] file",
    ("x", "--password", "hunter2 and hunter2", "file"): "x --password [hidden] file",
    ("x", "--token", "--password", "hunter2"): "x --token [hidden] [hidden]",
    ("x", "--secret-access-key", "-hunter2", "y"): "x --secret-access-key [hidden] y",
    ("x", "password", "hunter2", "y"): "x password [hidden] y",
    ("x", "password:", "hunter2", "y"): "x password: [hidden] y",
    ("x", "password = hunter2"): "x password = [hidden]",
    ("env", "PGPASSWORD=hunter2", "psql", "-h", "db1"): "env PGPASSWORD=[hidden] psql -h db1",
    ("env", "MYSQL_PWD=hunter2", "BEARER_TOKEN=hunter2"): "env MYSQL_PWD=[hidden] BEARER_TOKEN=[hidden]",
    ("env", "AWS_SECRET_ACCESS_KEY=hunter2/x+y", "aws"): "env AWS_SECRET_ACCESS_KEY=[hidden] aws",
    ("env", "DB_PASSWORD2=hunter2"): "env DB_PASSWORD2=[hidden]",
    ("java", "-Djavax.net.ssl.keyStorePassword=hunter2", "-jar", "/x.jar"): (
        "java -Djavax.net.ssl.keyStorePassword=[hidden] -jar /x.jar"
    ),
    ("x", "AccountKey=hunter2==", "clientSecret:hunter2"): "x AccountKey=[hidden] clientSecret:[hidden]",
    ("openssl", "enc", "-pass", "pass:hunter2", "-in", "f"): "openssl enc -pass [hidden] -in f",
    ("openssl", "req", "-passin", "pass:hunter2"): "openssl req -passin [hidden]",
    ("mount", "-o", "user=anna,password=hunter2", "/mnt"): "mount -o user=anna,password=[hidden] /mnt",
    # options of one letter, where the program is one that takes a secret so
    ("sshpass", "-p", "hunter2", "ssh", "host"): "sshpass -p [hidden] ssh host",
    ("sshpass", "-phunter2", "ssh", "host"): "sshpass -p[hidden] ssh host",
    ("sudo", "/usr/bin/mysql", "-uroot", "-phunter2 x", "db"): "sudo /usr/bin/mysql -uroot -p[hidden] db",
    ("curl", "-sSu", "anna:hunter2", "https://example.org/x"): "curl -sSu [hidden] https://example.org/x",
    ("curl", "--user", "anna:hunter2"): "curl --user [hidden]",
    ("ldapsearch", "-x", "-w", "hunter2", "cn=a"): "ldapsearch -x -w [hidden] cn=a",
    ("redis-cli", "-a", "hunter2", "get", "k"): "redis-cli -a [hidden] get k",
    ("sqlplus", "scott/hunter2@db", "@/tmp/x.sql"): "sqlplus scott/[hidden] @/tmp/x.sql",
    # a whole command line in one word, for a shell or by a program that wrote over its own
    ("sh", "-c", "mysql --password hunter2 db"): "sh -c mysql --password [hidden] db",
    ("sh", "-c", "PGPASSWORD='hunter2 hunter2' psql && x"): "sh -c PGPASSWORD=[hidden] psql && x",
    ("sh", "-c", 'PGPASSWORD=a"hunter2 hunter2"\\ hunter2 psql'): "sh -c PGPASSWORD=[hidden] psql",
    ("bash", "-lc", "mysql -p'hunter2 hunter2' -h db1 name"): "bash -lc mysql -p[hidden] -h db1 name",
    ("mysqld --password=hunter2 --port=3306",): "mysqld --password=[hidden] --port=3306",
    ("sh", "-c", "curl -H 'X-Auth-Token: hunter2' https://a"): "sh -c curl -H 'X-Auth-Token: [hidden]' https://a",
    # headers and documents
    ("curl", "-H", "Authorization: Basic aHVudGVyMg==", "u"): "curl -H Authorization: [hidden] u",
    ("curl", "-H", "Authorization: Bearer hunter2", "u"): "curl -H Authorization: [hidden] u",
    ("curl", "-H", "Authorization:", "Bearer", "hunter2", "u"): "curl -H Authorization: [hidden] u",
    ("curl", "-H", "Cookie: a=hunter2; b=hunter2", "u"): "curl -H Cookie: [hidden] u",
    ("x", "Bearer", "hunter2", "y"): "x Bearer [hidden] y",
    ("x", '{"user": "a", "password": "hunter2 \\" hunter2", "n": 5}'): 'x {"user": "a", "password": [hidden], "n": 5}',
    ("x", '{"token":"hunter2"}', "y"): 'x {"token":[hidden]} y',
    ("x", "{'secret': 'hunter2'}"): "x {'secret': [hidden]}",
    ("sh", "-c", 'x "{\\"password\\": \\"hunter2 x\\", \\"n\\": 5}"'): (
        'sh -c x "{\\x5c"password\\x5c": [hidden], \\x5c"n\\x5c": 5}"'
    ),
    # URLs
    ("curl", "https://anna:hunter2@example.org/x"): "curl https://[hidden]@example.org/x",
    ("curl", "https://hunter2@example.org/x"): "curl https://[hidden]@example.org/x",
    ("curl", "https://anna:hun/ter2@hunter2@example.org/x"): "curl https://[hidden]@example.org/x",
    ("curl", "https://a/x?a=1&token=hunter2&b=2"): "curl https://a/x?a=1&token=[hidden]&b=2",
    ("curl", "https://a/x?access_token=hunter2#f"): "curl https://a/x?access_token=[hidden]#f",
    ("curl", "https://a/x?X-Amz-Signature=hunter2&d=1"): "curl https://a/x?X-Amz-Signature=[hidden]&d=1",
    ("xrdcp", "root://e//x?authz=Bearer%20hunter2&p=unix", "/tmp"): "xrdcp root://e//x?authz=[hidden]&p=unix /tmp",
    ("curl", "https://a/?next=b%3Ftoken%3Dhunter2"): "curl https://a/?next=b%3Ftoken%3D[hidden]",
    ("celery", "amqp:anna:hunter2@host"): "celery amqp:anna:[hidden]@host",
    ("curl", "https://a/?j=%7B%22token%22%3A%22hunter2%22%7D&b=1"): "curl https://a/?j=%7B%22token%22%3A[hidden]&b=1",
    ("curl", "-d", "grant_type=password&client_secret=hunter2&b=1"): "curl -d grant_type=password&client_secret=[hidden]&b=1",
    ("x", "redis://:hunter2@host/0", "password://hunter2"): "x redis://[hidden]@host/0 password:[hidden]",
    ("x", "<user>a</user><password>hunter2 hunter2</password>"): "x <user>a</user><password>[hidden]</password>",
    ("mysql", "-e", "CREATE USER a IDENTIFIED BY 'hunter2 x'; SELECT 1"): (
        "mysql -e CREATE USER a IDENTIFIED BY [hidden]'; SELECT 1"
    ),
    ("http", "-u", "anna:hunter2", "--header=Authorization: hunter2", "u"): "http -u [hidden] --header=Authorization: [hidden] u",
    # what is known by its form
    ("echo", JWT): "echo [hidden]",
    ("x", f"--header={JWT}"): "x --header=[hidden]",
    ("x", "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "y"): "x [hidden] y",
    ("echo", "-----BEGIN", "PRIVATE", "KEY-----", "hunter2"): "echo [hidden]",
    ("x", "glpat-hunter2", "ghp_hunter2"): "x [hidden] [hidden]",
    ("x", "AKIAIOSFODNN7EXAMPLE"): "x [hidden]",
    ("x", "wJalrXUtnFEMI0K7MDENGbPxRfiCYz9"): "x [hidden]",
    ("x", "--x=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"): "x --x=[hidden]",
    ("x", "kR7+v/9sXq2Lw0Bz/T4mY8+cJ1nE6uGh5oPdA3fV"): "x [hidden]",
}  # fmt: skip

INNOCENTS = (
    ("sleep", "60"),
    ("python3", "-m", "job", "--events=1000", "--output", "/store/data/Run2018A/JetHT/MINIAOD/UL2018_MiniAODv2-v1/1.root"),
    ("/opt/exp/v12_3/x86_64-el9-gcc13-opt/run", "PFN:/store/data/2026/00E5DC5B-1B2C-E811-9D4E-0CC47A4C8F06.root"),
    ("sbatch", "--job-name=Analysis2018_ttH_SR1_v3", "--user", "anna", "run.sh", "4711"),
    ("slurmstepd: [4711.batch]",),
    ("condor_starter", "-f", "-a", "slot1_1", "wn042.example.org"),
    ("xrdcp", "root://eos.example.org:1094//eos/user/a/anna/f.root", "/tmp/f.root"),
    ("voms-proxy-init", "-cert", "/home/a/.globus/usercert.pem", "-key", "/home/a/.globus/userkey.pem", "-pwstdin"),
    ("ssh", "-p", "2222", "-i", "/home/a/.ssh/id_rsa", "anna@host"),
    ("env", "PWD=/home/anna", "OLDPWD=/tmp", "X509_USER_KEY=/tmp/key.pem", "BEARER_TOKEN_FILE=/run/bt_u1000"),
    ("x", "--password-file", "/etc/x", "--no-password", "y", "--ask-pass", "z", "--sort=key"),
    ("curl", "-o", "/tmp/x", "https://example.org:8443/a@b", "-H", "Accept: text/html"),
    ("docker", "run", "--user", "1000:1000", "image:1.2"),
    ("git", "checkout", "4b825dc6"),
    ("/cvmfs/repo/4b825dc642cb6eb9a060e54bf8d69288fbee4904/bin/tool", "--tokenizer", "gpt2", "--bypass", "all"),
    ("sshd: anna [priv]",),
)  # fmt: skip


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_a_secret_is_hidden_and_the_rest_is_kept(words: tuple[str, ...]) -> None:
    assert shown(line(*words)) == FORMS[words]
    assert SECRET not in FORMS[words]


@pytest.mark.parametrize("words", INNOCENTS, ids=" ".join)
def test_a_command_line_without_secrets_stays_as_it_is(words: tuple[str, ...]) -> None:
    assert shown(line(*words)) == " ".join(words)


def test_arguments_that_a_program_blanked_or_wrote_over_are_shown_as_they_are() -> None:
    assert shown(b"") == ""
    assert shown(b"   \0\0\0") == "   "


def test_bytes_that_could_end_a_line_or_move_a_cursor_are_escaped() -> None:
    assert shown(b"a\nb\0\xff\x1b[2J\0\xe2\x80\xae") == "a\\x0ab \\xff\\x1b[2J \\xe2\\x80\\xae"


@given(st.binary(max_size=5000))
def test_no_bytes_are_too_odd_and_no_line_too_long(data: bytes) -> None:
    text = shown(data)
    assert len(text) <= LONGEST
    assert text.isascii()
    assert text.isprintable()


NAMES = (
    "password", "PGPASSWORD", "MYSQL_PWD", "AWS_SECRET_ACCESS_KEY", "access_token", "X-Amz-Signature", "clientSecret",
    "db.pass", "Authorization", "api-key", "authz", "refresh_token", "passphrase", "sig", "private_key", "SECRET_2",
)  # fmt: skip
FORMS_OF_NAMES = (
    "--{}\0{}", "--{}={}", "-D{}={}", "{}={}", "env\0{}={}", "{}: {}", "{}:{}", "{}:\0{}", '{{"{}":"{}"}}', "{{'{}': '{}'}}",
    "https://h/?a=1&{}={}", "https://h/?{}={}&a=1", "sh\0-c\0export {}='{}'; x", "sh\0-c\0x --{} {} y", '-H\0"{}: {}"',
    '{{\\"{}\\": \\"{}\\"}}', "{} = {}", "{}=>{}", "Bearer {1} {0}", "https://{}:{}@h/", "https://h/?b=c%26{}%3D{}",
)  # fmt: skip


@given(
    st.sampled_from(NAMES),
    st.from_regex(r"\A[A-Za-z0-9_~^!*+,@-]{1,60}\Z").map(lambda text: "Q" + text),
    st.sampled_from(FORMS_OF_NAMES),
    st.sampled_from(["x\0", "x\0-v\0", "/usr/bin/env\0", "x y z\0", 'x\0"\0', "x\0--token\0"]),
)
def test_no_part_of_a_named_secret_is_kept(name: str, secret: str, form: str, before: str) -> None:
    text = shown((before + form.format(name, secret)).encode())
    kept = text.replace(HIDDEN, "").replace(name, "")
    assert secret not in kept, text
    assert secret[:3] not in kept or len(secret) < 3, text


@given(st.sampled_from(NAMES), st.text("abz019_- ./'\"\\\n\0", max_size=40))
def test_the_next_word_goes_whole_whatever_it_is(name: str, secret: str) -> None:
    assert shown(line("x", f"--{name}", "Q" + secret.replace("\0", ""), "end")) == f"x --{name} {HIDDEN} end"


def test_whose_name_says_so_is_a_secret_and_where_one_lies_is_none() -> None:
    assert all(map(is_secret, NAMES))
    innocent = (
        "user",
        "sort-keys",
        "tokenizer",
        "password-file",
        "BEARER_TOKEN_FILE",
        "author",
        "compass",
        "monk",
        "",
        "-",
    )
    assert not any(map(is_secret, innocent))


HOSTILE = (
    "a",
    "password=",
    "-",
    '"\\',
    "://",
    "eyJ",
    "a:",
    "mysql\0-p\0",
    "-----BEGIN",
    "token\0",
    "Basic ",
    "x/",
    "\\",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_megabytes_of_arguments_cost_no_more_than_those_that_are_kept(text: str) -> None:
    assert len(shown((text * 2**20).encode())) <= LONGEST


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_looked_for_is_found_in_time_that_grows_with_the_text_alone(text: str) -> None:
    # A repeat that goes back would take hours here, not seconds.
    redact.secrets(text * (2**18 // len(text)))
