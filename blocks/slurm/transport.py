"""Ways to run a command where Slurm's commands are. So far: on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from worksets.errors import ClusterUnreachable, ConfigurationError, TransientError


@dataclass(frozen=True)
class Result:
    """A command that ended; its output is text."""

    returncode: int
    stdout: str
    stderr: str


class MayHaveReached(TransientError):
    """No answer came: the command may have run, wholly, in part or not at all."""


class LocalTransport(BaseModel):
    """Slurm's commands are on this machine."""

    model_config = ConfigDict(extra="forbid")

    environment: dict[str, str] = Field(
        default_factory=dict, description="Added to this process's own, such as SLURM_CONF"
    )

    def run(self, argv: Sequence[str], stdin: str = "", timeout_s: float = 60) -> Result:
        """Run a command to its end. Blocks.

        Raises:
            ConfigurationError: there is no such command; it did not run.
            ClusterUnreachable: it could not be started.
            MayHaveReached: it did not end in `timeout_s` seconds, and was killed here.
        """
        # this process's keys to Prefect are no job's business
        own = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        try:
            done = subprocess.run(
                list(argv),
                input=stdin.encode(),
                capture_output=True,
                timeout=timeout_s,
                env={**own, **self.environment},
                check=False,
            )
        except FileNotFoundError as error:
            raise ConfigurationError(f"{argv[0]} is not on this machine: install it") from error
        except subprocess.TimeoutExpired as error:
            raise MayHaveReached(f"{argv[0]} did not answer for {timeout_s:g} s") from error
        except OSError as error:
            raise ClusterUnreachable(f"{argv[0]} could not be started: {error}") from error
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return Result(done.returncode, out, err)
