"""What a ban says of accounts that several people share: only where somebody whom it hits can have one."""

from __future__ import annotations

import pytest

from gridwarden.mapper.ban_telling import may_concern
from gridwarden.mapper.rules import Rule

ANNA = "/DC=org/DC=example/CN=Anna"


@pytest.mark.parametrize(
    ("given", "rule", "expected"),
    [
        ({"pattern": ANNA}, Rule(fqan="/cms/Role=production", account="cmsprod"), True),
        ({"pattern": ANNA}, Rule(dn="/DC=org/*", account="cmsprod"), True),
        ({"pattern": ANNA}, Rule(dn="/DC=com/*", account="cmsprod"), False),
        ({"pattern": "/DC=*/CN=Anna"}, Rule(dn="/DC=com/*", account="cmsprod"), True),
        ({"pattern": "/cms/Role=pilot"}, Rule(dn="/DC=com/*", account="cmsprod"), True),
        ({"pattern": ANNA}, Rule(issuer="https://iam.example.org/", account="cmsprod"), False),
        ({"serial": "1A", "issuer": "/CN=CA"}, Rule(dn="/DC=org/*", account="cmsprod"), True),
        ({"issuer": "https://iam.example.org/", "subject": "4f"}, Rule(group="/cms", account="cmsprod"), True),
        ({"issuer": "https://iam.example.org/", "subject": "4f"}, Rule(fqan="/cms", account="cmsprod"), False),
        ({"jti": "9b1d"}, Rule(dn="*", account="cmsprod"), False),
        ({"account": "cms017"}, Rule(fqan="/cms", account="cmsprod"), False),
    ],
)
def test_a_shared_account_is_named_only_where_the_ban_and_its_rule_can_meet(given, rule, expected) -> None:
    assert may_concern(given, rule) is expected
