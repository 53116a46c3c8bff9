"""SHA-256 without OpenSSL, which ``hashlib`` would load at a hook's cost: CPython's own, in 3.12 and later or before.

A CPython that was configured without its own (``--with-builtin-hashlib-hashes=blake2``, as for FIPS) has OpenSSL's alone.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a hook 6 ms
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
