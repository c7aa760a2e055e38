"""What waits to be sent to one peer, without I/O: a bounded queue for each channel, votes first, blobs last.

A full queue gives up its oldest messages, which are only ever such as are sent again when needed; requests and answers
are never given up, their number is bounded where they are made. Frames of different channels interleave, so that a
vote waits for one slice of a blob and not for the blob.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from node.network.interface import Channel

MESSAGES = 65_536  # of one channel, however small
_FAIRNESS = 8  # one batch in so many begins with the last class, so that a flood of one starves no other


Frames = tuple[bytes, ...]
Drawn = Callable[[], None]
Waiting = tuple[Frames, int, Drawn | None]


class SendQueue:
    """Frames by channel, drawn in batches. `size_bytes` and `dropped` may be read at any time."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.dropped = 0
        self._classes = tuple(_Class() for _ in Channel)
        self._control: list[bytes] = []
        self._drawn = 0

    @property
    def control_frames(self) -> int:
        """How many handshakes, pings and goodbyes wait."""
        return len(self._control)

    def put_control(self, frame: bytes) -> None:
        """A handshake, ping or goodbye: goes before everything."""
        self._control.append(frame)
        self.size_bytes += len(frame)

    def put(self, channel: Channel, frames: Frames, size_bytes: int, drawn: Drawn | None = None) -> None:
        """Queue a message of `size_bytes` in all. Above the channel's bounds older messages are dropped, oldest first.

        With `drawn` it is never dropped, and `drawn` is called once its last frame has left the queue.
        """
        queue = self._classes[channel]
        queue.waiting.append((frames, size_bytes, drawn))
        queue.size_bytes += size_bytes
        self.size_bytes += size_bytes
        if queue.size_bytes > self.limit_bytes or len(queue.waiting) > MESSAGES:
            self._shed(queue)

    def batch(self, target_bytes: int) -> list[bytes]:
        """The next frames, whole, until `target_bytes` are reached; empty if nothing waits."""
        chosen, self._control = self._control, []
        size = sum(map(len, chosen))
        self._drawn += 1
        order = reversed(self._classes) if self._drawn % _FAIRNESS == 0 else iter(self._classes)
        for queue in order:
            if size >= target_bytes:
                break
            if queue.current or queue.waiting:
                size += queue.draw(chosen, target_bytes - size)
        self.size_bytes -= size
        return chosen

    def _shed(self, queue: _Class) -> None:
        kept: list[Waiting] = []
        while len(queue.waiting) > 1 and (queue.size_bytes > self.limit_bytes or len(queue.waiting) > MESSAGES):
            oldest = queue.waiting.popleft()
            if oldest[2] is not None:
                kept.append(oldest)
                continue
            size = oldest[1]
            queue.size_bytes -= size
            self.size_bytes -= size
            self.dropped += 1
        queue.waiting.extendleft(reversed(kept))


class _Class:
    """One channel's messages, and the rest of the one whose first slice is already sent."""

    __slots__ = ("current", "drawn", "size_bytes", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self.current: deque[bytes] = deque()
        self.drawn: Drawn | None = None
        self.size_bytes = 0

    def draw(self, into: list[bytes], target_bytes: int) -> int:
        """Move whole frames until `target_bytes` are reached; how many bytes they are."""
        size = 0
        while size < target_bytes:
            if not self.current:
                if not self.waiting:
                    break
                frames, _, self.drawn = self.waiting.popleft()
                self.current.extend(frames)
            frame = self.current.popleft()
            into.append(frame)
            size += len(frame)
            if self.drawn is not None and not self.current:
                self.drawn()
        self.size_bytes -= size
        return size
