"""The files that a job leaves, and what the head node shows of them."""

import base64
from dataclasses import dataclass, field
from datetime import timedelta

LATEST_S = 55.0
"""Seconds after which a file is seen wherever it is looked for; clusters wait for 60 s."""


@dataclass
class Folder:
    """What lies in one attempt's folder."""

    steps: str = ""
    submitted: bool = False
    claimed: bool = False
    job: str = ""
    sealed: bool = False
    cancelled: bool = False
    starts: dict = field(default_factory=dict)
    exits: dict = field(default_factory=dict)
    unseen: tuple = (0.0, 0.0)
    """From when on its files are not seen, and until when (simulated time, s)."""

    def claim(self):
        """As `mkdir claim`."""
        free, self.claimed = not self.claimed, True
        return free

    def seal(self):
        self.sealed = self.claim() or self.sealed

    def shown(self, world):
        """What one of our texts prints of it."""
        files = {"steps": self.steps, "job": self.job}
        starts, exits = self._seen(world)
        for step, at in starts.items():
            files[f"{step}.start"] = f'{{"at":"{at.isoformat()}"}}'
        for step, (at, code) in exits.items():
            files[f"{step}.exit"] = f'{{"at":"{at.isoformat()}","code":{code}}}'
        damaged = world.fault("a marker is damaged", 0.05) and next(iter(exits), "")
        lines = [
            f"{name} {packed(text) if name != f'{damaged}.exit' else ''}"
            for name, text in files.items()
            if text
        ]
        flags = ("claimed", "sealed", "submitted", "cancelled")
        return lines + [what for what in flags if getattr(self, what)]

    def _seen(self, world):
        """Its markers as the head node sees them: a shared file system may show them late."""
        now_s = world.now_s
        if now_s >= self.unseen[1] and world.fault("markers are seen late", 0.05):
            since_s = now_s - world.rng.uniform(0, 20)
            self.unseen = (since_s, now_s + world.rng.uniform(1, 50))
        if now_s >= self.unseen[1]:
            return self.starts, self.exits
        hidden_s = now_s - self.unseen[0]
        # two such times, one upon the other, make no file later than it may be
        since = world.utc() - timedelta(seconds=min(hidden_s, LATEST_S))
        starts = {step: at for step, at in self.starts.items() if at <= since}
        exits = {step: end for step, end in self.exits.items() if end[0] <= since}
        return starts, exits


def packed(text):
    return base64.b64encode(text.encode()).decode()
