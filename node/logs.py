"""Logging: structlog, one JSON object a line in production, coloured lines for people.

Relies on structlog and the standard library's logging, which uvicorn writes to. No patient data is ever logged:
modules log counts, numbers and digests, and an exception is rendered without its values, since a KeyError or a
decoding error would quote what it met.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from protocol.errors import ChartledgerError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str = "info", form: str = "json", file: Path | None = None) -> None:
    """Send the whole process's logs to `file` (made 0600) or standard error, from `level` on."""
    opened = sys.stderr
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=True)
        opened = file.open("a", encoding="utf-8", buffering=1)
    stream = cast(TextIO, _Lossy(opened))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        plain_exception,
    ]
    if form == "console":
        renderer: Processor = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
            pass_foreign_args=False,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak at info of every request and connection; only what is wrong with them is ours to tell.
    root.setLevel(max(LEVELS[level], logging.WARNING))


class _Lossy:
    """A stream for logs that loses lines rather than its writer: a full disk, or a reader that went away, stops no
    node that can still do its work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `part=name`."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(part=name))


def log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited failed. asyncio's own handler would write the exception out, values and all."""
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else None
    get_logger("loop").error("failed unheard", task=name, exc_info=context.get("exception"))


def plain_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace `exc_info` by the type and the places, and the sentence only where it is known to hold no values."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if not isinstance(info, tuple) or info[1] is None:
        return event
    error = info[1]
    event["error"] = type(error).__name__
    if isinstance(error, ChartledgerError):
        event["sentence"] = str(error)
    elif isinstance(error, OSError) and error.strerror:
        event["sentence"] = error.strerror
    event["trace"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(info[2])[-12:]]
    return event
