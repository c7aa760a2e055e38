"""What waits to be sent to one peer, without I/O: a bounded queue for each channel, votes first, blobs last.

A full queue gives up its oldest messages, which are only ever such as are sent again when needed; requests and answers
are never given up, their number is bounded where they are made. Frames of different channels interleave, so that a
vote waits for one slice of a blob and not for the blob.
"""

from __future__ import annotations

from collections import deque

from node.network.interface import Channel

_FAIRNESS = 8  # one batch in so many begins with the last class, so that a flood of one starves no other


class SendQueue:
    """Frames by channel, drawn in batches. `size_bytes` and `dropped` may be read at any time."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.dropped = 0
        self._classes = tuple(_Class() for _ in Channel)
        self._control: list[bytes] = []
        self._drawn = 0

    def put_control(self, frame: bytes) -> None:
        """A handshake, ping or goodbye: goes before everything."""
        self._control.append(frame)
        self.size_bytes += len(frame)

    def put(self, channel: Channel, frames: tuple[bytes, ...], size_bytes: int, *, keep: bool = False) -> None:
        """Queue a message; `keep`: it may not be given up. Drops the channel's oldest droppable ones above its bound."""
        queue = self._classes[channel]
        queue.waiting.append((frames, size_bytes, keep))
        queue.size_bytes += size_bytes
        self.size_bytes += size_bytes
        if queue.size_bytes > self.limit_bytes:
            self._shed(queue)

    def batch(self, target_bytes: int) -> list[bytes]:
        """The next frames, whole, until `target_bytes` are reached; empty if nothing waits."""
        chosen, size = self._control, 0
        if chosen:
            self._control = []
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
        kept: deque[tuple[tuple[bytes, ...], int, bool]] = deque()
        while queue.waiting and queue.size_bytes > self.limit_bytes:
            frames, size, keep = queue.waiting.popleft()
            if keep:
                kept.append((frames, size, keep))
                continue
            queue.size_bytes -= size
            self.size_bytes -= size
            self.dropped += 1
        queue.waiting.extendleft(reversed(kept))


class _Class:
    """One channel's messages, and the rest of the one whose first slice is already sent."""

    __slots__ = ("current", "size_bytes", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[tuple[bytes, ...], int, bool]] = deque()
        self.current: deque[bytes] = deque()
        self.size_bytes = 0

    def draw(self, into: list[bytes], target_bytes: int) -> int:
        """Move whole frames until `target_bytes` are reached; how many bytes they are."""
        size = 0
        while size < target_bytes:
            if not self.current:
                if not self.waiting:
                    break
                self.current.extend(self.waiting.popleft()[0])
            frame = self.current.popleft()
            into.append(frame)
            size += len(frame)
        self.size_bytes -= size
        return size
