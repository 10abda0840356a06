"""The watched place of one installation: folders that appear one after the other."""

from dataclasses import dataclass

from blocks.folders import Found, SpecFile, SpecMissing
from tests.simulation.world import LINGERS_S
from worksets.delivery import Seen
from worksets.errors import ConfigurationError, TransientError

ROOT = "file:///worksets"


class Folders:
    """The watched place and the files in its folders."""

    root = ROOT

    def __init__(self, world, checks, odd):
        self.world = world
        self.checks = checks
        self.odd = odd
        """The one folder with which something may be wrong."""
        self.files = {}

    def find(self, _cursor):
        if self.world.fault("the share cannot be listed"):
            raise ConfigurationError(f"{ROOT} cannot be listed: input/output error")
        self._may_hang("the share hangs")
        return [Found(id_, f"{ROOT}/{id_}", "1") for id_ in self.files], ""

    def changes(self, _stop, _queue):
        return None

    def open(self, location):
        return _Folder(self, location.rpartition("/")[2])

    def _may_hang(self, kind):
        """Worksets go on all the same: see `Checks.cycled`."""
        if self.world.fault(kind, lingers_s=LINGERS_S):
            self.world.tell(kind)
            with self.checks.cycling_meanwhile():
                self.world.hang(self.world.rng.uniform(10, 120))

    def read(self, workset_id):
        """The text of a folder's file; None: there is none."""
        if workset_id == self.odd:
            if self.world.fault("a folder cannot be read"):
                # what the real folder makes of such an error of the system
                raise TransientError(f"{ROOT}/{workset_id} could not be read: input/output error")
            self._may_hang("a folder hangs")
        return self.files.get(workset_id)


@dataclass
class _Folder:
    place: Folders
    workset_id: str

    source_root = "/worksets"

    @property
    def source(self):
        return f"/worksets/{self.workset_id}"

    def read_spec(self):
        text = self.place.read(self.workset_id)
        if text is None:
            raise SpecMissing("there is no daylily_work.yaml")
        return SpecFile(text, "1")

    def read_sheet(self):
        return None

    def look(self, inputs):
        return {entry.name: Seen(1, "1") for entry in inputs}
