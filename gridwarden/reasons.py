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
}
