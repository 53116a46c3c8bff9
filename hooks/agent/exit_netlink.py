"""The kernel's exit statistics (taskstats): a message for each thread that ends, by generic netlink.

Sources: Documentation/accounting/taskstats.rst, include/uapi/linux/{netlink,genetlink,taskstats}.h and kernel/taskstats.c of
Linux 6.1; seen with 6.18 (version 16 of the structure).  Only root of the host's own pid, user and network namespaces is
sent any.  The kernel sends to one socket from all processors; what does not fit into its buffer is dropped and counted.
"""

from __future__ import annotations

import errno
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket

from gridwarden.errors import Unavailable

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

GENERIC, CONTROL = 16, 16  # NETLINK_GENERIC, GENL_ID_CTRL
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
REQUEST, ACKNOWLEDGE, ERROR = 1, 4, 2  # NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR
GET, REGISTER_CPUMASK = 1, 3  # TASKSTATS_CMD_GET, TASKSTATS_CMD_ATTR_REGISTER_CPUMASK
AGGREGATE_OF_PID, AGGREGATE_OF_GROUP, STATISTICS = 4, 5, 3  # TASKSTATS_TYPE_*
RECEIVE_BUFFER_FORCED, MEMORY = 33, 55  # SO_RCVBUFFORCE, SO_MEMINFO
BUFFER_BYTES = 64 << 20  # 8 000 exits were kept while nobody read; of 208 KB, the default, 164
DROPS = struct.Struct("=32xI")  # SK_MEMINFO_DROPS is the ninth of the words of SO_MEMINFO
LARGEST = 16384
ANSWER_SECONDS = 2.0

_MESSAGE = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_GENERIC = struct.Struct("=BBH")  # genlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length with itself, type; the next begins at a multiple of 4
_NUMBER = struct.Struct("=H")


class Listener:
    """A socket to which the kernel sends exit statistics of all processors.

    Raises Unavailable when it sends none here; OSError.
    """

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, GENERIC)
        try:
            self.socket.bind((0, 0))
            self.socket.setsockopt(SOL_SOCKET, RECEIVE_BUFFER_FORCED, BUFFER_BYTES)
            self._family = self._find_family()
            with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
                self._register(file.read().strip())
        except BaseException:
            self.socket.close()
            raise

    def receive(self) -> bytes | None:
        """The next message of the kernel's, None when there is none now; raises OSError with ENOBUFS when some were dropped."""
        try:
            message, (port, _) = self.socket.recvfrom(LARGEST)
        except (BlockingIOError, InterruptedError):
            return None
        return message if port == 0 else b""  # whoever else may send here is not believed

    def drops(self) -> int:
        """How many messages the kernel has dropped so far."""
        (drops,) = DROPS.unpack(self.socket.getsockopt(SOL_SOCKET, MEMORY, DROPS.size))
        return int(drops)

    def statistics(self, message: bytes) -> tuple[int, int]:
        """Where in a message the structures of the thread, and of its whole group, begin; -1 where there is none."""
        of_thread = of_group = -1
        try:
            length, kind, *_ = _MESSAGE.unpack_from(message)
            if kind != self._family:
                return -1, -1
            for attribute, begin, end in _attributes(message, _MESSAGE.size + _GENERIC.size, min(length, len(message))):
                if attribute in {AGGREGATE_OF_PID, AGGREGATE_OF_GROUP}:
                    place = next((at for each, at, _ in _attributes(message, begin, end) if each == STATISTICS), -1)
                    if attribute == AGGREGATE_OF_PID:
                        of_thread = place
                    else:
                        of_group = place
        except struct.error:
            return -1, -1
        return of_thread, of_group

    def _find_family(self) -> int:
        answer = self._ask(1, CONTROL, GET_FAMILY, FAMILY_NAME, b"TASKSTATS\0")
        begin = _MESSAGE.size + _GENERIC.size
        for attribute, at, _ in _attributes(answer, begin, len(answer)):
            if attribute == FAMILY_ID:
                return int(_NUMBER.unpack_from(answer, at)[0])
        raise Unavailable("this kernel has no exit statistics (CONFIG_TASKSTATS)")

    def _register(self, processors: str) -> None:
        self._ask(2, self._family, GET, REGISTER_CPUMASK, processors.encode() + b"\0")

    def _ask(self, number: int, kind: int, command: int, attribute: int, value: bytes) -> bytes:
        """Send a request of this number and return the answer, or the acknowledgement; raises Unavailable."""
        padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
        payload = _GENERIC.pack(command, 1, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + padded
        length = _MESSAGE.size + len(payload)
        self.socket.settimeout(ANSWER_SECONDS)
        try:
            self.socket.sendto(_MESSAGE.pack(length, kind, REQUEST | ACKNOWLEDGE, number, 0) + payload, (0, 0))
            while True:
                answer = self.socket.recv(LARGEST)
                _, answered, _, asked, _ = _MESSAGE.unpack_from(answer)
                if asked == number and answered in {kind, ERROR} and self._is_answer(answer, answered):
                    return answer
        except OSError as error:
            raise Unavailable(f"the kernel does not answer about exit statistics: {error.strerror or error}") from error
        finally:
            self.socket.settimeout(0)

    @staticmethod
    def _is_answer(answer: bytes, kind: int) -> bool:
        """Whether it is, and not a statistic that came first; raises Unavailable for a refusal."""
        if kind != ERROR:
            return kind == CONTROL
        (code,) = struct.Struct("=i").unpack_from(answer, _MESSAGE.size)
        if code == -errno.EINVAL:
            raise Unavailable("exit statistics are for the host's own pid and user namespace, which this is not")
        if code == -errno.ENOENT:
            raise Unavailable(
                "there are no exit statistics here: another network namespace than the host's, or no CONFIG_TASKSTATS"
            )
        if code:
            raise Unavailable(f"the kernel sends no exit statistics: {errno.errorcode.get(-code, code)}")
        return True


def _attributes(message: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, begin and end of each attribute's value; raises struct.error where one is cut short."""
    while begin + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, begin)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, begin + _ATTRIBUTE.size, begin + length
        begin += (length + 3) & ~3
