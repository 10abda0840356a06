"""Options that many commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from cli.site import Site, open_site


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Which installation, and how to print."""

    settings: Annotated[str | None, Parameter(name=["--settings", "-s"])] = None
    """A settings file (YAML), or the name of a settings block."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON."""

    def site(self, *, may_be_new: bool = False) -> Site:
        return open_site(self.settings, may_be_new=may_be_new)


COMMON = Common()
