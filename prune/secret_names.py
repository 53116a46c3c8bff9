"""Names behind which secrets stand on command lines: of options, variables, headers and fields.

Gathered from what scrubbers of logs and scanners for secrets look for (Sentry, Datadog, detect-secrets, gitleaks)
and from the manual pages of the programs named here.
"""

from __future__ import annotations

ENDS_OF_WORDS = (
    "apikey", "authorization", "bearer", "cookie", "credential", "macaroon", "passcode", "passphrase", "passwd",
    "passwort", "password", "privatekey", "secret", "signature", "token",
)  # fmt: skip
"""A name is one of a secret when any of its words ends so, in the singular or plural, numbered or not."""

LAST_WORDS = frozenset(
    ["auth", "authz", "cred", "creds", "csrf", "jwt", "otp", "pass", "passin", "passout", "pin", "psk", "pw", "pwd",
     "sas", "sig", "totp", "xsrf"]
)  # fmt: skip
"""Or when its last word is one of these,"""

ENDS_OF_LAST_WORDS = ("key", "pass", "passwd", "pwd")
"""or ends so (``dbpass``, ``AccountKey``),"""

INNOCENT_LAST_WORDS = frozenset(
    ["bypass", "compass", "dir", "directory", "fd", "file", "filename", "path", "stdin", "trespass"]
)
"""but not when it is one of these: where a secret is to be found is none."""

LONGEST = 200  # characters of a name
WORKING_DIRECTORIES = ("PWD", "OLDPWD")
WITHOUT_VALUE = frozenset(["ask", "no", "prompt", "without"])  # as first word of an option: --no-password, --ask-pass
SCHEMES = frozenset(["apikey", "basic", "bearer", "digest", "negotiate", "ntlm", "token"])  # of HTTP authentication

SHORT_OPTIONS = {
    "sshpass": "p", "mysql": "p", "mysqladmin": "p", "mysqldump": "p", "mysqlimport": "p", "mariadb": "p",
    "mariadb-dump": "p", "mongo": "p", "mongosh": "p", "mongodump": "p", "mongorestore": "p", "docker": "p",
    "podman": "p", "skopeo": "p", "condor_store_cred": "p", "7z": "p", "7za": "p", "7zr": "p", "rar": "p", "unrar": "p",
    "zip": "P", "unzip": "P", "curl": "uUE", "http": "a", "https": "a", "ldapadd": "w", "ldapdelete": "w",
    "ldapmodify": "w", "ldappasswd": "was", "ldapsearch": "w", "ldapwhoami": "w", "redis-cli": "a", "smbclient": "U",
    "rpcclient": "U", "lftp": "u", "ncftp": "p", "ncftpget": "p", "ncftpput": "p", "ipmitool": "P", "snmpget": "AXc",
    "snmpset": "AXc", "snmpwalk": "AXc", "openssl": "kK", "bcp": "P", "sqlcmd": "P", "tsql": "P", "isql": "P",
}  # fmt: skip
"""Programs, and the letters of those of their options that take a secret."""

BY_SLASH = frozenset(["sqlplus", "expdp", "impdp", "rman", "sqlldr"])
"""Programs to which a user and a password are given as ``user/password@database``."""


def is_secret(name: str) -> bool:
    """Whether a value behind ``name`` is a secret: ``--db-password``, ``PGPASSWORD``, ``X-Amz-Signature``."""
    words = words_of(name)
    if words[-1] in INNOCENT_LAST_WORDS:
        return False
    return _has_secret_word(words) or words[-1] in LAST_WORDS or words[-1].endswith(ENDS_OF_LAST_WORDS)


def is_of_a_key(name: str) -> bool:
    """Whether ``name`` is secret only as that of a key, of which more often the file is named."""
    words = words_of(name)
    return words[-1].endswith("key") and not _has_secret_word(words)


def is_of_a_header(name: str) -> bool:
    """Whether ``name`` is that of an HTTP header with several words."""
    return words_of(name)[-1] in ("authorization", "cookie")


def takes_value(option: str) -> bool:
    """Whether what follows an option of this name, as a word of its own, is its value."""
    return words_of(option)[0] not in WITHOUT_VALUE


def words_of(name: str) -> list[str]:
    """The words of a name (of its end, if it is long) in lower case, without numbers: ``X-Api-Key2``, ``accessToken``."""
    words = [""]
    before = ""
    for character in name.removeprefix("-D")[-LONGEST:]:  # as Java and CMake set properties
        if not character.isalnum():
            words.append("")
        elif character.isupper() and before.islower():
            words.append(character.lower())
        else:
            words[-1] += character.lower()
        before = character
    return [letters for word in words if (letters := word.strip("0123456789"))] or [""]


def _has_secret_word(words: list[str]) -> bool:
    return any(word.endswith(ENDS_OF_WORDS) or word.removesuffix("s").endswith(ENDS_OF_WORDS) for word in words)
