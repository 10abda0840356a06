"""What carries worksets in a process: its open blocks, its lease, its watches, its threads.

A process opens one host however many worksets it carries; a flow that runs inside another finds
the host that is open already.
"""

from host.lease import process_tag
from host.loading import load_settings, load_state_db
from host.opening import host, open_host
from host.process import AnotherInstallation, Host

__all__ = [
    "AnotherInstallation",
    "Host",
    "host",
    "load_settings",
    "load_state_db",
    "open_host",
    "process_tag",
]
