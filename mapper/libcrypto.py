"""The functions of OpenSSL's libcrypto that verifying a credential needs, each declared once.

Only the verifier's child process loads this (``gridwarden.mapper.verifier``).  It lives for one credential,
so nothing that libcrypto allocates is freed: a double free is worse than a leak of a few kilobytes.

Pointers are plain integers and NULL is 0.  Names and meanings are those of OpenSSL 3's manual pages.
"""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False  # typing's own costs a verification 6 ms
if TYPE_CHECKING:
    from collections.abc import Callable

POINTER = ctypes.c_size_t  # as a result c_void_p would turn NULL into None and every check into two
_ADDRESS = ctypes.c_void_p
_INT = ctypes.c_int
_LONG = ctypes.c_long
_SIZE = ctypes.c_size_t
_TEXT = ctypes.c_char_p

_library = ctypes.CDLL("libcrypto.so.3")


def _function(name: str, result: type | None, *arguments: type) -> Callable[..., int]:
    function = _library[name]
    function.restype = result
    function.argtypes = arguments
    return function


d2i_x509 = _function("d2i_X509", POINTER, _ADDRESS, _ADDRESS, _LONG)
d2i_private_key = _function("d2i_AutoPrivateKey", POINTER, _ADDRESS, _ADDRESS, _LONG)
d2i_x509_name = _function("d2i_X509_NAME", POINTER, _ADDRESS, _ADDRESS, _LONG)
d2i_asn1_time = _function("d2i_ASN1_TIME", POINTER, _ADDRESS, _ADDRESS, _LONG)
i2d_asn1_integer = _function("i2d_ASN1_INTEGER", _INT, _ADDRESS, _ADDRESS)

stack_new = _function("OPENSSL_sk_new_null", POINTER)
stack_push = _function("OPENSSL_sk_push", _INT, _ADDRESS, _ADDRESS)
stack_size = _function("OPENSSL_sk_num", _INT, _ADDRESS)
stack_value = _function("OPENSSL_sk_value", POINTER, _ADDRESS, _INT)

store_new = _function("X509_STORE_new", POINTER)
store_load_path = _function("X509_STORE_load_path", _INT, _ADDRESS, _TEXT)
context_new = _function("X509_STORE_CTX_new", POINTER)
context_initialise = _function("X509_STORE_CTX_init", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
context_parameters = _function("X509_STORE_CTX_get0_param", POINTER, _ADDRESS)
context_error = _function("X509_STORE_CTX_get_error", _INT, _ADDRESS)
context_current = _function("X509_STORE_CTX_get_current_cert", POINTER, _ADDRESS)
context_chain = _function("X509_STORE_CTX_get0_chain", POINTER, _ADDRESS)
set_flags = _function("X509_VERIFY_PARAM_set_flags", _INT, _ADDRESS, ctypes.c_ulong)
set_depth = _function("X509_VERIFY_PARAM_set_depth", None, _ADDRESS, _INT)
set_security_level = _function("X509_VERIFY_PARAM_set_auth_level", None, _ADDRESS, _INT)
set_purpose = _function("X509_VERIFY_PARAM_set_purpose", _INT, _ADDRESS, _INT)
_CALLBACK = ctypes.CFUNCTYPE(_INT, _INT, _ADDRESS)
_set_callback = _function("X509_STORE_CTX_set_verify_cb", None, _ADDRESS, _CALLBACK)
verify_certificate = _function("X509_verify_cert", _INT, _ADDRESS)
_error_string = _function("X509_verify_cert_error_string", POINTER, _LONG)

extension_flags = _function("X509_get_extension_flags", ctypes.c_uint32, _ADDRESS)
subject_name = _function("X509_get_subject_name", POINTER, _ADDRESS)
issuer_name = _function("X509_get_issuer_name", POINTER, _ADDRESS)
serial_number = _function("X509_get0_serialNumber", POINTER, _ADDRESS)
x509_public_key = _function("X509_get_X509_PUBKEY", POINTER, _ADDRESS)
i2d_x509_public_key = _function("i2d_X509_PUBKEY", _INT, _ADDRESS, _ADDRESS)
public_key = _function("X509_get0_pubkey", POINTER, _ADDRESS)
verify_signature = _function("X509_verify", _INT, _ADDRESS, _ADDRESS)
key_usage = _function("X509_get_key_usage", ctypes.c_uint32, _ADDRESS)
key_bits = _function("EVP_PKEY_get_security_bits", _INT, _ADDRESS)
_signature_information = _function("X509_get_signature_info", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
not_before = _function("X509_get0_notBefore", POINTER, _ADDRESS)
not_after = _function("X509_get0_notAfter", POINTER, _ADDRESS)
time_set = _function("ASN1_TIME_set", POINTER, _ADDRESS, _LONG)
time_difference = _function("ASN1_TIME_diff", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)

object_from_text = _function("OBJ_txt2obj", POINTER, _TEXT, _INT)
extension_by_object = _function("X509_get_ext_by_OBJ", _INT, _ADDRESS, _ADDRESS, _INT)
extension_at = _function("X509_get_ext", POINTER, _ADDRESS, _INT)
extension_data = _function("X509_EXTENSION_get_data", POINTER, _ADDRESS)
string_data = _function("ASN1_STRING_get0_data", POINTER, _ADDRESS)
string_length = _function("ASN1_STRING_length", _INT, _ADDRESS)

_name_oneline = _function("X509_NAME_oneline", POINTER, _ADDRESS, _ADDRESS, _INT)
name_compare = _function("X509_NAME_cmp", _INT, _ADDRESS, _ADDRESS)
name_hash = _function("X509_NAME_hash_ex", ctypes.c_ulong, _ADDRESS, _ADDRESS, _TEXT, _ADDRESS)
name_size = _function("X509_NAME_entry_count", _INT, _ADDRESS)
name_entry = _function("X509_NAME_get_entry", POINTER, _ADDRESS, _INT)
entry_value = _function("X509_NAME_ENTRY_get_data", POINTER, _ADDRESS)
entry_part = _function("X509_NAME_ENTRY_set", _INT, _ADDRESS)

d2i_public_key = _function("d2i_PUBKEY", POINTER, _ADDRESS, _ADDRESS, _LONG)
digest_by_name = _function("EVP_get_digestbyname", POINTER, _TEXT)
digest_context_new = _function("EVP_MD_CTX_new", POINTER)
digest_sign_initialise = _function("EVP_DigestSignInit", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
digest_sign = _function("EVP_DigestSign", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _TEXT, _SIZE)
digest_verify_initialise = _function("EVP_DigestVerifyInit", _INT, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS)
digest_verify = _function("EVP_DigestVerify", _INT, _ADDRESS, _TEXT, _SIZE, _TEXT, _SIZE)
key_option = _function("EVP_PKEY_CTX_ctrl_str", _INT, _ADDRESS, _TEXT, _TEXT)


# A public key that nobody trusts (RFC 5480; its point is G of SEC 2, section 2.4.2).
P256_BASE_POINT = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200"
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)

_forgiving: list[Callable[[int], bool]] = []


def _judge(holds: int, context: int) -> int:
    return int(bool(holds) or _forgiving[-1](context))


# One for all, made before anybody is confined: where what is written may not be executed (PR_SET_MDWE of prctl(2), which a
# caller can have set) libffi needs a file for callbacks, which a verifier can make no more, and would share with others.
_JUDGE = _CALLBACK(_judge)


def forgive(context: int, forgiven: Callable[[int], bool]) -> None:
    """Have the verification by ``context`` go on after a fault that is ``forgiven``, which gets a context of that fault."""
    _forgiving.append(forgiven)
    _set_callback(context, _JUDGE)


def warm_up() -> None:
    """Have libcrypto make ready what decoding any key takes, for the children of this process too.

    The first key takes it ten times as long as each that follows.
    """
    decoded(d2i_public_key, P256_BASE_POINT)


def decoded(decoder: Callable[..., int], der: bytes) -> int:
    """What ``decoder`` (a ``d2i_`` function) makes of exactly ``der``; 0 where it is not that, or not all."""
    buffer = ctypes.create_string_buffer(der, len(der))
    start = ctypes.addressof(buffer)
    position = ctypes.c_void_p(start)
    value = decoder(None, ctypes.byref(position), len(der))
    return value if value and position.value == start + len(der) else 0


def encoded(encoder: Callable[..., int], value: int) -> bytes:
    """The DER of ``value`` by ``encoder`` (an ``i2d_`` function)."""
    buffer = ctypes.create_string_buffer(max(encoder(value, None), 0))
    position = ctypes.c_void_p(ctypes.addressof(buffer))
    encoder(value, ctypes.byref(position))
    return buffer.raw


def string_bytes(string: int) -> bytes:
    """The bytes of an ASN1_STRING of any kind, NULs included."""
    return ctypes.string_at(string_data(string), string_length(string))


def oneline(name: int) -> str:
    """The slash form of a name, of any length; libcrypto writes what is not printable ASCII as ``\\xHH``."""
    return ctypes.string_at(_name_oneline(name, None, 0)).decode("ascii")


def signature_bits(certificate: int) -> int:
    """The bits of security of the algorithm that a certificate is signed with; 0 where that is not known."""
    bits = ctypes.c_int()
    return bits.value if _signature_information(certificate, None, None, ctypes.byref(bits), None) == 1 else 0


def error_text(code: int) -> str:
    """Libcrypto's words for a code of X509_verify_cert."""
    return ctypes.string_at(_error_string(code)).decode("ascii")


def seconds_since_epoch(time: int) -> int:
    """An ASN1_TIME as seconds since 1970; raises ValueError when it is not a time."""
    days, seconds = ctypes.c_int(), ctypes.c_int()
    if time_difference(ctypes.byref(days), ctypes.byref(seconds), time_set(None, 0), time) != 1:
        raise ValueError("not a time")
    return days.value * 86400 + seconds.value
