"""What a launch cannot do without, and nothing else: a minimal program beside which ``bench/launch.py`` shows the launcher.

Started by sudo as root, with two proxy files, a PAM service and an account.  libcrypto verifies each proxy's chain in a
process of its own, PAM opens and closes the account's session, ``/bin/true`` runs as the account, and two lines are put
on disk.  No file is looked at before it is trusted, nothing is refused, mapped, banned, leased, handed over or cleared,
and nobody watches over the payload.
"""

from __future__ import annotations

import ctypes
import os
import sys
from binascii import a2b_base64

CERTIFICATES = b"/etc/grid-security/certificates"
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
ALLOW_PROXIES = 0x40
PAM_USER, ESTABLISH, DELETE = 2, 2, 4
POINTER = ctypes.c_size_t


def load_libcrypto() -> ctypes.CDLL:
    """The library, with pointers as whole numbers."""
    library = ctypes.CDLL("libcrypto.so.3")
    for name in (
        "d2i_X509",
        "X509_STORE_new",
        "X509_STORE_CTX_new",
        "OPENSSL_sk_new_null",
        "X509_STORE_CTX_get0_param",
    ):
        getattr(library, name).restype = POINTER
    return library


def verify(library: ctypes.CDLL, path: str) -> int:
    """Have libcrypto verify the chain of a proxy file; 0 if it holds."""
    with open(path, "rb") as file:
        parts = file.read().split(BEGIN)[1:]
    certificates = []
    for part in parts:
        der = a2b_base64(part.partition(END)[0])
        position = ctypes.c_char_p(der)
        certificates.append(POINTER(library.d2i_X509(None, ctypes.byref(position), ctypes.c_long(len(der)))))
    store, stack = POINTER(library.X509_STORE_new()), POINTER(library.OPENSSL_sk_new_null())
    library.X509_STORE_load_path(store, CERTIFICATES)
    for certificate in certificates[1:]:
        library.OPENSSL_sk_push(stack, certificate)
    context = POINTER(library.X509_STORE_CTX_new())
    library.X509_STORE_CTX_init(context, store, certificates[0], stack)
    library.X509_VERIFY_PARAM_set_flags(
        POINTER(library.X509_STORE_CTX_get0_param(context)), ctypes.c_ulong(ALLOW_PROXIES)
    )
    return int(library.X509_verify_cert(context) != 1)


def apart(work: object) -> int:
    """The pid of a child that does ``work`` and ends with what that returns."""
    pid = os.fork()
    if pid == 0:
        os._exit(work())  # type: ignore[operator]
    return pid


def record(directory: int, text: bytes) -> None:
    """Put a line on disk."""
    descriptor = os.open("bench-floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=directory)
    os.write(descriptor, text)
    os.fdatasync(descriptor)
    os.close(descriptor)


def main() -> int:
    """Do it; 0 if all went well."""
    *proxies, service, account, uid, gid, place = sys.argv[1:]
    library = load_libcrypto()
    verifying = [apart(lambda path=path: verify(library, path)) for path in proxies]
    pam, handle = ctypes.CDLL("libpam.so.0"), ctypes.c_void_p()
    conversation = (ctypes.c_void_p * 2)()
    failed = pam.pam_start(service.encode(), None, conversation, ctypes.byref(handle))
    failed |= any(os.waitpid(pid, 0)[1] for pid in verifying)
    failed |= pam.pam_set_item(handle, PAM_USER, account.encode())
    failed |= pam.pam_acct_mgmt(handle, 0)
    failed |= pam.pam_setcred(handle, ESTABLISH)
    failed |= pam.pam_open_session(handle, 0)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    record(directory, b"start\n")

    def payload() -> int:
        os.setgroups([])
        os.setresgid(*[int(gid)] * 3)
        os.setresuid(*[int(uid)] * 3)
        os.execve("/bin/true", ["/bin/true"], {})  # noqa: S606 - what is measured

    failed |= os.waitpid(apart(payload), 0)[1]
    record(directory, b"end\n")
    failed |= pam.pam_close_session(handle, 0)
    failed |= pam.pam_setcred(handle, DELETE)
    pam.pam_end(handle, 0)
    return int(bool(failed))


if __name__ == "__main__":
    os._exit(main())
