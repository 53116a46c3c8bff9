"""A PAM account check and session without a login: nobody is there to give a password, so none is asked for.

Calls, items and return values are those of Linux-PAM 1.5 (pam(3), security/_pam_types.h).  python-pam's public calls
begin with a password, so this is a binding of its own to the few functions that are needed.  pam_limits and pam_keyinit
change the process that opens the session, so that is one made for the purpose.
"""

from __future__ import annotations

import ctypes
import os

from gridwarden import reasons, tab_file, trusted
from gridwarden.errors import ConfigurationError, Refused, Unavailable

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from ctypes import _CData, _NamedFuncPointer

DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")  # PAM looks a service up in lower case
LIBRARY = "libpam.so.0"
ITEM_USER, ITEM_TTY, ITEM_RUSER = 2, 3, 8
ESTABLISH, DELETE = 0x2, 0x4
PROMPTS, CONVERSATION_ERROR = (1, 2), 19
FAULTS = frozenset(
    {1, 2, 3, 4, 5, 26, 28}
)  # of PAM or a module, not a verdict: OPEN_ERR to BUF_ERR, ABORT, MODULE_UNKNOWN
MOST_SAID = 2000


class _Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


_CONVERSE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = [("converse", _CONVERSE), ("about", ctypes.c_void_p)]


def require_service(service: str) -> None:
    """Raise Refused (pam-service-missing) unless ``service`` has a file that root alone can change.

    Without one PAM takes the rules of ``other``, which may let everybody in.
    """
    if not (service and NAME.issuperset(service)):
        raise Refused(reasons.PAM_SERVICE_MISSING, f"{tab_file.escape(service)} cannot name a PAM service")
    for directory in DIRECTORIES:
        path = f"{directory}/{service}"
        if os.path.lexists(path):
            try:
                os.close(trusted.open_file(path))
            except ConfigurationError as error:
                raise Refused(reasons.PAM_SERVICE_MISSING, str(error), error.hint) from error
            return
    raise Refused(reasons.PAM_SERVICE_MISSING, f"{DIRECTORIES[0]}/{service}: no such file", "gridwarden doctor exec")


class Session:
    """The session of an account, asked for on behalf of ``caller``; whatever is refused raises.

    PAM loads the service's modules when it is made, before anybody knows the account.  Refused (account-session-refused) is a verdict of PAM's; Unavailable a fault of PAM's or of a module.
    """

    def __init__(self, service: str, caller: str) -> None:
        self._library = _load()
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = ctypes.c_void_p
        self._libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._said: list[str] = []
        self._conversation = _Conversation(_CONVERSE(self._converse), None)
        self._handle = ctypes.c_void_p()
        self._shown = service
        self._do("pam_start", service.encode(), None, self._conversation, self._handle, begun=False)
        self._do("pam_set_item", self._handle, ITEM_RUSER, caller.encode())
        # pam_access and pam_time want to know where somebody comes from; cron, too, says its own name.
        self._do("pam_set_item", self._handle, ITEM_TTY, service.encode())

    def open(self, account: str, groups: tuple[int, ...]) -> None:
        """Check ``account``, take ``groups`` and those that PAM adds, and open the session, all for this process."""
        self._shown += f", account {account}"
        self._do("pam_set_item", self._handle, ITEM_USER, account.encode())
        self._do("pam_acct_mgmt", self._handle, 0)
        os.setgroups(groups)
        self._do("pam_setcred", self._handle, ESTABLISH)
        self._do("pam_open_session", self._handle, 0)

    def environment(self) -> dict[bytes, bytes]:
        """The variables that modules have set."""
        listed = self._library.pam_getenvlist(self._handle)
        variables: list[bytes] = []
        while listed and listed[len(variables)]:
            variables.append(ctypes.string_at(listed[len(variables)]))
        pairs = (variable.partition(b"=") for variable in variables)
        return {name: value for name, _, value in pairs}

    def close(self) -> None:
        """Close the session."""
        try:
            self._do("pam_close_session", self._handle, 0)
            self._do("pam_setcred", self._handle, DELETE)
        finally:
            self._library.pam_end(self._handle, 0)

    def _do(self, name: str, *arguments: object, begun: bool = True) -> None:
        code = getattr(self._library, name)(*arguments)
        if code == 0:
            return
        why = self._library.pam_strerror(self._handle, code) or b"?"
        sentence = f"{self._shown}: {name}: {why.decode('utf-8', 'replace')} ({code})"
        told = "; ".join(self._said)[:MOST_SAID]
        if begun:
            self._library.pam_end(self._handle, code)
        if code in FAULTS:
            raise Unavailable(f"PAM service {sentence}{told and ': '}{told}", "see the log of authpriv")
        raise Refused(reasons.ACCOUNT_SESSION_REFUSED, f"PAM service {sentence}{told and ': '}{told}")

    def _converse(self, count: int, messages: _CData, answers: _CData, _: object) -> int:
        """Remember what modules say; nobody is there to answer what they ask."""
        try:
            for number in range(count):
                message = messages[number].contents  # type: ignore[index]
                if message.style in PROMPTS:
                    return CONVERSATION_ERROR
                self._said.append(tab_file.escape((message.text or b"").decode("utf-8", "surrogateescape")))
            empty = self._libc.calloc(count, 2 * ctypes.sizeof(ctypes.c_void_p))
            answers[0] = empty  # type: ignore[index]
        except Exception:  # noqa: BLE001 - nothing may be raised into C
            return CONVERSATION_ERROR
        return 0 if empty else CONVERSATION_ERROR


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise Unavailable(f"{LIBRARY} cannot be loaded: {error}", "install Linux-PAM's library") from error
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    conversation, pointer = ctypes.POINTER(_Conversation), ctypes.POINTER(ctypes.c_void_p)
    _declare(library.pam_start, [text, text, conversation, pointer])
    _declare(library.pam_set_item, [handle, number, text])
    for function in (library.pam_acct_mgmt, library.pam_setcred, library.pam_open_session, library.pam_close_session):
        _declare(function, [handle, number])
    _declare(library.pam_end, [handle, number])
    library.pam_strerror.argtypes, library.pam_strerror.restype = [handle, number], text
    library.pam_getenvlist.argtypes, library.pam_getenvlist.restype = [handle], pointer
    return library


def _declare(function: _NamedFuncPointer, arguments: list[type]) -> None:
    function.argtypes, function.restype = arguments, ctypes.c_int
