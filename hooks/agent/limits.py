"""Whose message is read next: every uid in turn, each at its own rate.  Pure.

One uid's flood waits in its own connections, which the kernel bounds; it takes no turn of anybody else's.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs a start 6 ms
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from gridwarden.hooks.agent.intake import Connection as Item
else:  # collections would load functools and re
    from _collections import deque


class Bucket:
    """So many at once and so many a second; times are seconds of a clock that never goes back."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at = now

    def has(self, now: float) -> bool:
        """Whether one more may be had."""
        self._fill(now)
        return self._tokens >= 1

    def take(self, count: float = 1) -> None:
        """Take one, or more than there are: then it is longer until the next."""
        self._tokens -= count

    def give_back(self) -> None:
        """Put one back that was of no use."""
        self._tokens += 1

    def is_full(self, now: float) -> bool:
        """Whether it stands as if nothing had ever been taken."""
        self._fill(now)
        return self._tokens >= self._burst

    def seconds(self, now: float) -> float:
        """How long until one may be had."""
        self._fill(now)
        return max(0.0, (1 - self._tokens) / self._rate)

    def _fill(self, now: float) -> None:
        if now > self._at:  # else a clock that was set back would give for ever, or never
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now


class Uid:
    """What one uid has: its bucket, connections with something to read, and what was dropped of its messages.

    ``dropped`` counts messages and connections; ``first`` and ``last`` are when.
    """

    __slots__ = ("bucket", "connections", "dropped", "first", "last", "ready", "uid")

    def __init__(self, uid: int, bucket: Bucket) -> None:
        self.uid = uid
        self.bucket = bucket
        self.ready: deque[Item] = deque()
        self.connections = 0
        self.dropped = 0
        self.first = 0.0
        self.last = 0.0

    def drop(self, count: int, now: float) -> None:
        """Note that so many of its messages are lost."""
        if not self.dropped:
            self.first = now
        self.dropped += count
        self.last = now


class Turns:
    """The uids that have something to be read, in the order of their turns."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._uids: dict[int, Uid] = {}
        self._order: deque[Uid] = deque()

    def of(self, uid: int, now: float) -> Uid:
        """What ``uid`` has; made at the first call."""
        found = self._uids.get(uid)
        if found is None:
            found = self._uids[uid] = Uid(uid, Bucket(self._burst, self._rate, now))
        return found

    def add(self, uid: int, item: Item, now: float) -> None:
        """Let ``item`` wait for a turn of ``uid``, behind what waits already."""
        own = self.of(uid, now)
        own.ready.append(item)
        if len(own.ready) == 1:
            self._order.append(own)

    def take(self, now: float) -> Item | None:
        """The next item whose uid may be served now; it waits no longer, and a turn of its uid is used up."""
        for _ in range(len(self._order)):
            own = self._order.popleft()
            if not own.ready:
                continue
            if not own.bucket.has(now):
                self._order.append(own)
                continue
            own.bucket.take()
            item = own.ready.popleft()
            if own.ready:
                self._order.append(own)
            return item
        return None

    def remove(self, uid: int, item: Item) -> None:
        """Let ``item`` wait no longer."""
        own = self._uids[uid]
        if item in own.ready:
            own.ready.remove(item)

    def seconds(self, now: float) -> float | None:
        """How long until somebody who waits may be served; None when nobody waits."""
        return min((own.bucket.seconds(now) for own in self._order if own.ready), default=None)

    def everyone(self) -> Iterator[Uid]:
        """Every uid of which something is known."""
        return iter(list(self._uids.values()))

    def forget_idle(self, now: float) -> None:
        """Forget uids of which nothing need be known: a machine may see many in a year."""
        for own in list(self._uids.values()):
            if not (own.connections or own.ready or own.dropped) and own.bucket.is_full(now):
                del self._uids[own.uid]
