"""A folder of which the file system hangs, as a share does whose server is gone, and comes back."""

import ctypes
import os
import time
from pathlib import Path

from tests import services

DEVICE = Path("/dev/fuse")
DETACH = 2  # MNT_DETACH: also while somebody is in there
_libc = ctypes.CDLL(None, use_errno=True)


class Share:
    """A watched folder; while it hangs, whoever touches it waits in the kernel."""

    def __init__(self, folder):
        services.need_root("A file system that hangs")
        services.need(DEVICE.exists(), "FUSE, which makes a file system hang,")
        folder.mkdir()
        self.folder = folder
        self.inside = Path(f"/proc/self/fd/{os.open(folder, os.O_RDONLY | os.O_DIRECTORY)}")
        """The folder itself, below what is mounted over it: this process never hangs."""
        self.hangs = []
        """From when to when it hung, in seconds of the clock."""
        self._server = None

    def hang(self):
        """Mount a file system over it of which the server, this process, never answers."""
        if self._server is None:
            self._server = os.open(DEVICE, os.O_RDWR)
            own = f"fd={self._server},rootmode=40000,user_id=0,group_id=0,allow_other"
            _call("mount", b"hung", os.fsencode(self.folder), b"fuse", 0, own.encode())
            self.hangs.append([time.time(), None])

    def back(self):
        """What hangs there fails (ENOTCONN), and the folder is what it was."""
        if self._server is not None:
            os.close(self._server)
            self._server = None
            _call("umount2", os.fsencode(self.folder), DETACH)
            self.hangs[-1][1] = time.time()


def _call(name, *args):
    if getattr(_libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
