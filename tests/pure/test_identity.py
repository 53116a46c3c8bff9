from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwarden import reasons, tab_file
from gridwarden.errors import ConfigurationError, Refused
from gridwarden.mapper import identity, pem, verifying
from gridwarden.mapper.x509 import ambiguous
from gridwarden.reason_sentences import SENTENCES

ANSWER = {
    "subject": ["/DC=org/DC=example/CN=Anna Example"],
    "fqan": ["/cms/Role=pilot/Capability=NULL", "/cms/Role=NULL/Capability=NULL", "/cms/de"],
    "credential": ["0a1f/DC=org/DC=example/CN=Example Grid CA"],
    "not_after": ["1800000000"],
    "limited": ["no"],
}
BODY = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


def test_an_identity_keeps_the_order_of_its_fqans_without_null_roles():
    person = identity.from_answer(ANSWER)
    assert person.fqans == ("/cms/Role=pilot", "/cms", "/cms/de")
    assert (person.vo, person.limited, person.not_after) == ("cms", False, 1800000000)


def test_somebody_without_attributes_has_no_vo():
    person = identity.from_answer({name: values for name, values in ANSWER.items() if name != "fqan"})
    assert (person.fqans, person.vo) == ((), "")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("subject", ["/CN=anna\n"]),
        ("subject", ["/CN=anna\tfqan"]),
        ("subject", ["CN=anna"]),
        ("subject", ["/CN=\xe4nna"]),
        ("subject", ["/CN=" + "a" * 1024]),
        ("subject", ["/CN=anna", "/CN=bela"]),
        ("subject", []),
        ("credential", ["/CN=Example Grid CA"]),
        ("credential", ["0A 1/CN=Example Grid CA"]),
        ("credential", ["0a1f"]),
        ("not_after", ["-1"]),
        ("not_after", ["1e9"]),
        ("not_after", ["\u0661"]),
        ("not_after", ["9" * 40]),
        ("limited", ["perhaps"]),
        ("fqan", ["/cms", "cms"]),
        ("fqan", ["/cms"] * 257),
        ("account", ["root"]),
    ],
)
def test_a_verifier_taken_over_cannot_hand_out_an_identity_with_an_odd_field(field, values):
    with pytest.raises(ValueError):  # noqa: PT011 - which words stand in it matters to nobody
        identity.from_answer({**ANSWER, field: values})


@pytest.mark.parametrize("missing", ["subject", "credential", "not_after", "limited"])
def test_a_verifier_taken_over_cannot_leave_a_field_out(missing):
    with pytest.raises(ValueError, match="fields"):
        identity.from_answer({name: values for name, values in ANSWER.items() if name != missing})


@given(st.dictionaries(st.sampled_from([*ANSWER, "x"]), st.lists(st.text(max_size=40), max_size=3)))
def test_no_answer_makes_root_stumble(values):
    try:
        person = identity.from_answer({**ANSWER, **values})
    except ValueError:
        return
    assert person.subject.isascii() and person.subject.isprintable()
    assert all(fqan.isascii() and fqan.isprintable() for fqan in person.fqans)


TOKEN = {
    "issuer": ["https://cms-auth.example.org/"],
    "sub": ["8f14e45f-ceea-467f-9575-b0fe2d9e2b4a"],
    "credential": ["jti=b5c1"],
    "not_after": ["1800000000"],
    "group": ["/cms/production", "/cms"],
    "scope": ["compute.create", "storage.read:/"],
    "audience": ["https://ce.example.org"],
}


def test_a_token_is_known_by_issuer_and_sub_and_keeps_its_groups_in_order():
    person = identity.from_answer(TOKEN, "token")
    assert person.subject == "https://cms-auth.example.org/,8f14e45f-ceea-467f-9575-b0fe2d9e2b4a"
    assert (person.scheme, person.issuer) == ("token", "https://cms-auth.example.org/")
    assert (person.groups, person.fqans, person.vo) == (("/cms/production", "/cms"), (), "")
    assert (person.scopes, person.audiences) == (("compute.create", "storage.read:/"), ("https://ce.example.org",))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("issuer", ["https://a.example.org,https://b.example.org"]),
        ("issuer", [""]),
        ("issuer", ["https://a.example.org/ "]),
        ("issuer", ["https://a.example.org", "https://b.example.org"]),
        ("sub", [""]),
        ("sub", [" "]),
        ("sub", ["anna\n"]),
        ("sub", ["\xe4nna"]),
        ("sub", ["a" * 256]),
        ("credential", ["0a1f/CN=Example Grid CA"]),
        ("credential", ["jti="]),
        ("credential", ["jti= "]),
        ("credential", ["sha256=" + "g" * 64]),
        ("not_after", ["-1"]),
        ("group", ["cms"]),
        ("group", ["/cms/Role=production"]),
        ("group", ["/cms"] * 257),
        ("scope", ["a b"]),
        ("audience", [""]),
        ("fqan", ["/cms"]),
        ("subject", ["/CN=anna"]),
        ("vo", ["cms"]),
    ],
)
def test_a_token_verifier_taken_over_cannot_hand_out_an_identity_with_an_odd_field(field, values):
    with pytest.raises(ValueError):  # noqa: PT011 - which words stand in it matters to nobody
        identity.from_answer({**TOKEN, field: values}, "token")


def test_a_token_verifier_taken_over_cannot_speak_of_certificates_nor_the_other_way_round():
    for values, scheme in ((ANSWER, "token"), (TOKEN, "x509"), (ANSWER, "idtoken")):
        with pytest.raises(ValueError, match="fields"):
            identity.from_answer(values, scheme)


def test_whose_lease_it_was_is_still_known_by_issuer():
    assert identity.remembered("token", "https://a.example.org,x,y", (), "").issuer == "https://a.example.org"
    assert identity.remembered("x509", "/O=a,b/CN=x", (), "").issuer == ""


@pytest.mark.parametrize(
    "fqan",
    ["/cms", "/vo.example.org/a/b", "/cms/Role=NULL/Capability=NULL", "/cms/de/Role=pilot", "/cms/Capability=x"],
)
def test_fqans_as_vos_have_them_are_understood(fqan):
    assert identity.is_fqan(fqan)


@pytest.mark.parametrize(
    "fqan",
    ["", "/", "cms", "/cms/", "//cms", "/cms/../atlas", "/cms/Role=", "/cms/Role=a/b", "/Role=pilot", "/cms/a b",
     "/cms\n", "/cms/*", "/cms/Role=a/Role=b", "/" + "c" * 255],
)  # fmt: skip
def test_what_is_not_an_fqan_never_reaches_the_policy(fqan):
    assert not identity.is_fqan(fqan)


def test_null_is_taken_from_the_end_of_an_fqan_only():
    assert identity.without_null("/cms/Role=NULL/Capability=NULL") == "/cms"
    assert identity.without_null("/cms/Role=pilot/Capability=NULL") == "/cms/Role=pilot"
    assert identity.without_null("/cms/Role=NULLS") == "/cms/Role=NULLS"


@pytest.mark.parametrize("value", [b"anna/CN=bela", b"a\\xE4", b"a\nb", b"a\0b", b"\x7f"])
def test_two_different_names_never_read_the_same(value):
    assert ambiguous(value)


@pytest.mark.parametrize("value", [b"Anna Example", b"host/voms.example.org", "Ännä".encode(), b"a=b", b"r/b-1"])
def test_ordinary_names_are_not_taken_for_tricks(value):
    assert not ambiguous(value)


@pytest.mark.parametrize(
    "text",
    [
        BODY + KEY + BODY,
        KEY + BODY,
        BODY.replace("-----END CERTIFICATE-----\n", "") + KEY + BODY,
        "x" + KEY,
        BODY + KEY,
    ],
)
def test_a_private_key_is_never_read_as_a_certificate(text):
    kept = pem.certificates_only(text.encode())
    assert b"PRIVATE" not in kept and b"c2VjcmV0" not in kept


@given(st.text(alphabet="-BEGINDCRTFAVKYPa\n ", max_size=60).map(lambda middle: BODY + middle + KEY + middle + BODY))
def test_a_private_key_is_never_read_as_a_certificate_whatever_stands_around_it(text):
    assert b"c2VjcmV0" not in pem.certificates_only(text.encode())


@pytest.mark.parametrize("text", [BODY[:-8], BODY[:20], BODY.replace("QUJD", "QU*D"), BODY.replace("QUJD", "QUJ")])
def test_a_certificate_cut_short_is_not_read_as_another(text):
    presented = pem.certificates_only(text.encode())
    if presented:
        with pytest.raises(ValueError, match="certificate 1"):
            pem.decode(presented)


FIELDS = st.sampled_from([*ANSWER, "fault", "refused", "detail", "version", ""])
LINES = st.lists(st.tuples(FIELDS, st.one_of(st.text(max_size=30), st.sampled_from([*SENTENCES, "yes", "1"]))))


@given(
    st.one_of(st.binary(max_size=300), LINES.map(tab_file.encode), LINES.map(lambda lines: tab_file.encode(lines)[:-3]))
)
def test_no_answer_of_a_verifier_taken_over_does_more_than_refuse_its_own_credential(answer):
    try:
        person = verifying.judge(answer, "proxy.pem", "x509")
    except (Refused, ConfigurationError) as error:
        said = str(error)
    else:
        said = person.subject + person.vo
    assert said.isascii() and said.isprintable()


def test_a_verifier_taken_over_cannot_speak_as_another_part():
    answer = tab_file.encode([("refused", reasons.BANNED), ("detail", "x")])
    with pytest.raises(Refused) as caught:
        verifying.judge(answer, "proxy.pem", "x509")
    assert caught.value.reason == reasons.CREDENTIAL_MALFORMED
