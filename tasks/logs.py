"""Log lines are made fit where they leave: at the handlers that Prefect has set up."""

from __future__ import annotations

import logging

import prefect.main  # noqa: F401  # it sets the handlers up

from worksets.texts import plain

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


def make_fit() -> None:
    """Have Prefect's handlers, to its server and to the terminal, take fit texts only."""
    known = [logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict)]
    for logger in (logging.getLogger(), *known):
        for handler in logger.handlers:
            ours = type(handler).__module__.startswith("prefect.")
            if ours and not any(isinstance(found, Fit) for found in handler.filters):
                handler.addFilter(Fit())
