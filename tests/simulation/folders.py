"""The watched place of one installation: folders that appear one after the other."""

from dataclasses import dataclass

from blocks.folders import Found, SpecFile, SpecMissing
from worksets.delivery import Seen

ROOT = "file:///worksets"


class Folders:
    """The watched place and the files in its folders."""

    root = ROOT

    def __init__(self, world):
        self.world = world
        self.files = {}

    def find(self, _cursor):
        return [Found(id_, f"{ROOT}/{id_}", "1") for id_ in self.files], ""

    def open(self, location):
        return _Folder(self, location.rpartition("/")[2])


@dataclass
class _Folder:
    place: Folders
    workset_id: str

    source_root = "/worksets"

    @property
    def source(self):
        return f"/worksets/{self.workset_id}"

    def read_spec(self):
        text = self.place.files.get(self.workset_id)
        if text is None:
            raise SpecMissing("there is no daylily_work.yaml")
        return SpecFile(text, "1")

    def read_sheet(self):
        return None

    def look(self, inputs):
        return {entry.name: Seen(1, "1") for entry in inputs}
