"""Log lines are made fit where they leave: at the handlers that Prefect has set up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import prefect.main  # noqa: F401  # it sets the handlers up
from prefect import get_run_logger
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger

from worksets.texts import plain

if TYPE_CHECKING:
    from prefect.logging.loggers import LoggingAdapter

_FORMAT = logging.Formatter()


class Fit(logging.Filter):
    """Makes a record's message and traceback fit, whoever logged it; lets every record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            record.msg, record.args = plain(record.getMessage()), ()
        except Exception:
            return True  # wrong arguments: the handler says so
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMAT.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = plain(record.exc_text)
        return True


def run_log() -> logging.Logger | LoggingAdapter:
    """The log of the run that is under way here, or, between two polls, of the process."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("poller")


def make_fit() -> None:
    """Have Prefect's handlers, to its server and to the terminal, take fit texts only."""
    known = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict)]
    for logger in (logging.getLogger(), *known):
        for handler in logger.handlers:
            ours = type(handler).__module__.startswith("prefect.")
            if ours and not any(isinstance(found, Fit) for found in handler.filters):
                handler.addFilter(Fit())
