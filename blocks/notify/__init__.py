"""Telling people: the channels, what carries announcements to them, and Prefect's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.doors import opened_when_asked
from blocks.notify.announcer import Announcer
from blocks.notify.channel import Channel
from blocks.notify.events import as_event

if TYPE_CHECKING:
    from blocks.notify.aws import SnsTopic, SqsQueue
    from blocks.notify.linear import LinearTeam
else:
    __getattr__ = opened_when_asked(__name__, aws="SnsTopic SqsQueue", linear="LinearTeam")

__all__ = ["Announcer", "Channel", "LinearTeam", "SnsTopic", "SqsQueue", "as_event"]
