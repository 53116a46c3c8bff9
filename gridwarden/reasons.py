"""Every reason for which gridwarden refuses something, with the sentence shown to the person refused.

Plain strings, not ``enum.Enum``: hooks import this module, and enum alone would cost a third of
their start-up budget.  The words are stable: they stand in logs, in the ledger and in the store.
"""

from __future__ import annotations

CREDENTIAL_UNREADABLE = "credential-unreadable"
CREDENTIAL_EXPOSED = "credential-exposed"
CREDENTIAL_MALFORMED = "credential-malformed"
CREDENTIAL_EXPIRED = "credential-expired"
CREDENTIAL_UNTRUSTED = "credential-untrusted"
CREDENTIAL_REVOKED = "credential-revoked"
CREDENTIAL_LIMITED = "credential-limited"
CREDENTIAL_LIFETIME = "credential-lifetime"
CREDENTIAL_TIMEOUT = "credential-timeout"
CREDENTIAL_AUDIENCE = "credential-audience"
VOMS_EXPIRED = "voms-attributes-expired"
VOMS_FORGED = "voms-attributes-forged"
VOMS_UNTRUSTED = "voms-attributes-untrusted"
BANNED = "banned"
POLICY_NO_MATCH = "policy-no-match"
POLICY_REFUSED = "policy-refused"
GLOBUS_UNDECIDED = "globus-undecided"
SLOT_NOT_ALLOWED = "slot-not-allowed"
LEASE_NAME_COLLISION = "lease-name-collision"
LEASE_IN_OTHER_POOL = "lease-in-other-pool"
LEASE_CORRUPT = "lease-corrupt"
LEASE_NOT_OURS = "lease-not-ours"
POOL_FULL = "pool-full"
ACCOUNT_UNKNOWN = "account-unknown"
ACCOUNT_PRIVILEGED = "account-privileged"
GROUP_NOT_HELD = "group-not-held"
OPTION_NOT_ALLOWED = "option-not-allowed"
SCRIPT_TOO_LARGE = "script-too-large"
SCRIPT_EMPTY = "script-empty"
SUBMIT_REJECTED = "submit-rejected"
HOLDER_MISSING = "holder-missing"
HOLDER_INVALID = "holder-invalid"
HOLDER_NOT_LINKED = "holder-not-linked"
STAMP_MISMATCH = "stamp-mismatch"
STAMP_PROTECTED = "stamp-protected"
CALLER_NOT_LISTED = "caller-not-listed"
PILOT_CREDENTIAL_MISSING = "pilot-credential-missing"
PILOT_CREDENTIAL_NOT_ALLOWED = "pilot-credential-not-allowed"
OUTSIDE_JOBS = "outside-jobs"
CREDENTIAL_MISSING = "credential-missing"
IDENTITY_CHANGED = "identity-changed"
ACCOUNT_OUTSIDE_POOLS = "account-outside-pools"
UID_TOO_LOW = "uid-too-low"
GID_TOO_LOW = "gid-too-low"
PROGRAM_MISSING = "program-missing"
PROGRAM_NOT_EXECUTABLE = "program-not-executable"
PROGRAM_WRITABLE = "program-writable"
PROGRAM_OTHERS = "program-others"
PROGRAM_SETUID = "program-setuid"
PROGRAM_NOT_ALLOWED = "program-not-allowed"
DIRECTORY_UNUSABLE = "directory-unusable"
DIRECTORY_WRITABLE = "directory-writable"
DIRECTORY_OTHERS = "directory-others"
PAM_SERVICE_MISSING = "pam-service-missing"
ACCOUNT_SESSION_REFUSED = "account-session-refused"
TERMINAL = "terminal"
PAYLOAD_LIMIT = "payload-limit"
PAYLOAD_UNKNOWN = "payload-unknown"
ENVIRONMENT_TOO_LARGE = "environment-too-large"
TARGET_UNUSABLE = "target-unusable"
QUESTION_REFUSED = "question-refused"
SWITCHED_OFF = "switched-off"

SENTENCES = {
    CREDENTIAL_UNREADABLE: "the credential file cannot be read",
    CREDENTIAL_EXPOSED: "the credential file can be read or written by others",
    CREDENTIAL_MALFORMED: "the credential is not one that can be understood",
    CREDENTIAL_EXPIRED: "the credential is out of date or not yet valid",
    CREDENTIAL_UNTRUSTED: "no certificate authority or issuer trusted here vouches for the credential",
    CREDENTIAL_REVOKED: "the certificate authority has revoked the credential",
    CREDENTIAL_LIMITED: "the credential is a limited proxy, which may not start jobs here",
    CREDENTIAL_LIFETIME: "the credential is valid for longer than this site allows",
    CREDENTIAL_TIMEOUT: "the credential took too long to verify",
    CREDENTIAL_AUDIENCE: "the token was made for another service",
    VOMS_EXPIRED: "the VOMS attributes are out of date",
    VOMS_FORGED: "the VOMS attributes do not carry their server's signature",
    VOMS_UNTRUSTED: "the VOMS server is not one that this site trusts for that VO",
    BANNED: "the identity is banned at this site",
    POLICY_NO_MATCH: "no rule of this site's policy matches the identity",
    POLICY_REFUSED: "a rule of this site's policy refuses the identity",
    GLOBUS_UNDECIDED: "the site's Globus mappings are too slow to be sure of",
    SLOT_NOT_ALLOWED: "the site lends no account for that job slot",
    LEASE_NAME_COLLISION: "another identity already has the same lease name",
    LEASE_IN_OTHER_POOL: "the identity holds an account of another pool",
    LEASE_CORRUPT: "the identity's lease in the gridmapdir is not consistent",
    LEASE_NOT_OURS: "another program made the identity's lease, and this site does not follow such leases",
    POOL_FULL: "every account of the pool is taken",
    ACCOUNT_UNKNOWN: "the account does not exist on this machine",
    ACCOUNT_PRIVILEGED: "the account is root or a system account",
    GROUP_NOT_HELD: "the account is not a member of a group that the policy gives its jobs",
    OPTION_NOT_ALLOWED: "that submit option is not allowed",
    SCRIPT_TOO_LARGE: "the job script is too large",
    SCRIPT_EMPTY: "the job script is empty",
    SUBMIT_REJECTED: "the batch system did not accept the job",
    HOLDER_MISSING: "nothing on this machine says who holds the account",
    HOLDER_INVALID: "the record of who holds the account cannot be trusted",
    HOLDER_NOT_LINKED: "the gridmapdir does not confirm who holds the account",
    STAMP_MISMATCH: "the job was submitted under another lease than its account's present one",
    STAMP_PROTECTED: "gridwarden's stamp on a job cannot be changed",
    CALLER_NOT_LISTED: "this account may not start payloads here",
    PILOT_CREDENTIAL_MISSING: "the pilot shows no credential of its own",
    PILOT_CREDENTIAL_NOT_ALLOWED: "the pilot's own credential is not one that may start payloads here",
    OUTSIDE_JOBS: "the pilot is in no batch job of this machine",
    CREDENTIAL_MISSING: "no credential of the payload's owner is given",
    IDENTITY_CHANGED: "the credential is another person's",
    ACCOUNT_OUTSIDE_POOLS: "payloads may not run as the account that the policy gives",
    UID_TOO_LOW: "the account's uid is lower than payloads may have",
    GID_TOO_LOW: "a group of the account is root's, or its gid lower than payloads may have",
    PROGRAM_MISSING: "the payload's program cannot be found",
    PROGRAM_NOT_EXECUTABLE: "the payload's program cannot be executed",
    PROGRAM_WRITABLE: "others could have changed the payload's program, or a directory above it",
    PROGRAM_OTHERS: "the payload's program, or a directory above it, belongs to somebody else",
    PROGRAM_SETUID: "the payload's program changes who runs it",
    PROGRAM_NOT_ALLOWED: "this site does not let pilots run that program",
    DIRECTORY_UNUSABLE: "the working directory cannot be used",
    DIRECTORY_WRITABLE: "others could change the working directory",
    DIRECTORY_OTHERS: "the working directory belongs to somebody else",
    PAM_SERVICE_MISSING: "this site's PAM service for payloads is missing",
    ACCOUNT_SESSION_REFUSED: "the machine lets no session of that account begin",
    TERMINAL: "a payload may not have a terminal: it could type into it as the pilot",
    PAYLOAD_LIMIT: "this identity already runs as many payloads here as it may",
    PAYLOAD_UNKNOWN: "no payload of this pilot runs under that name or target",
    ENVIRONMENT_TOO_LARGE: "the environment for the payload is too large",
    TARGET_UNUSABLE: "the credential cannot be put where it is asked for",
    QUESTION_REFUSED: "the node's agent does not answer that question, or not to everybody",
    SWITCHED_OFF: "an administrator has switched the launcher of this machine off",
}
