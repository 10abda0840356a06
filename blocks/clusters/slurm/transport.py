"""The ways to where Slurm's commands are: on this machine here, `ssh` and `ssm` beside it.

All run a shell script and end in one of three ways: they raise `ClusterUnreachable` (it did not
reach: certainly nothing ran), they raise `MayHaveReached` (it may have run, wholly, in part or not
at all), or they return a `Result` (it ran; a return code other than 0 is a refusal).
"""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from shlex import quote
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from worksets.errors import ClusterUnreachable, TransientError

TIMEOUT_S: Final = 60.0
"""Seconds a script may take; Slurm's own commands give up after 10 to 20."""


@dataclass(frozen=True)
class Result:
    """A script that ended; its output is text."""

    returncode: int
    stdout: str
    stderr: str


class MayHaveReached(TransientError):
    """No answer came: the script may have run, wholly, in part or not at all."""


class Transport(BaseModel, ABC):
    """A way to a shell where Slurm's commands are."""

    model_config = ConfigDict(extra="forbid")

    environment: dict[str, str] = Field(
        default_factory=dict, description="Variables of the shell there, such as SLURM_CONF"
    )

    @abstractmethod
    def run(self, script: str, timeout_s: float = TIMEOUT_S) -> Result:
        """Run a shell script there to its end. Blocks; any thread may call it.

        Raises:
            ClusterUnreachable: it did not reach; nothing ran.
            MayHaveReached: no answer in `timeout_s` seconds, or the way broke on the way.
        """

    def close(self) -> None:
        """Give up what is kept open; the next `run` opens it again."""
        return

    def _whole(self, script: str) -> str:
        """The script with its environment, as one command: a shell runs all of it or none."""
        exports = [f"export {key}={quote(value)}" for key, value in self.environment.items()]
        return "\n".join(["{", *exports, script.rstrip("\n"), "}", ""])


class LocalTransport(Transport):
    """Slurm's commands are on this machine."""

    kind: Literal["local"] = "local"

    def run(self, script: str, timeout_s: float = TIMEOUT_S) -> Result:
        # this process's keys to Prefect are no job's business
        own = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        try:
            done = subprocess.run(
                ["sh", "-s"],
                input=self._whole(script).encode(),
                capture_output=True,
                timeout=timeout_s,
                env=own,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MayHaveReached(f"no answer for {timeout_s:g} s") from error
        except OSError as error:
            raise ClusterUnreachable(f"sh could not be started: {error}") from error
        return Result(done.returncode, text(done.stdout), text(done.stderr))


def text(output: bytes) -> str:
    """A program's output, whatever it wrote."""
    return output.decode("utf-8", "replace")
