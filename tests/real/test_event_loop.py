"""Nothing that may hang is asked on the event loop, on which all worksets of a process live."""

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

WATCHED = """
import asyncio, os, sys, traceback
from blocks.state_db import SQLiteStateDB
from blocks.state_db.store import Store
from flows.poll_worksets import poll_worksets

name, folder = sys.argv[1:]
found = set()
FILES = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir",
         "os.link", "os.symlink", "os.chmod", "os.utime", "os.truncate", "shutil.rmtree",
         "sqlite3.connect"}
ALWAYS = {"subprocess.Popen", "os.posix_spawn", "os.system", "socket.getaddrinfo",
          "socket.gethostbyname", "time.sleep"}

def on_the_loop():
    return asyncio._get_running_loop() is not None

def watch(event, args):
    if event not in FILES and event not in ALWAYS or not on_the_loop():
        return
    if event == "socket.getaddrinfo" and args[0] == "127.0.0.1":
        return  # Prefect's results, once a process: no name server is asked
    if event in ALWAYS or any(folder in str(arg) for arg in args[:2]):
        stack = traceback.extract_stack()
        ours = [f"{os.path.relpath(f.filename)}:{f.lineno}" for f in stack
                if f.filename.startswith(os.getcwd()) and ".venv" not in f.filename]
        found.add(f"{event} {args[:1]} by {' < '.join(reversed(ours[-4:])) or stack[-9:-1]}")

sys.addaudithook(watch)  # open, listdir, connect …; looks at a path make no such event
for call in ("stat", "lstat", "access", "statvfs", "readlink"):
    def looked(*args, _real=getattr(os, call), _call=call, **named):
        FILES.add(f"os.{_call}")
        watch(f"os.{_call}", args)
        return _real(*args, **named)
    setattr(os, call, looked)

for call in Store.__abstractmethods__:
    def asked(self, *args, _real=getattr(SQLiteStateDB, call), _call=call, **named):
        if on_the_loop():
            found.add(f"the state DB: {_call}")
        return _real(self, *args, **named)
    setattr(SQLiteStateDB, call, asked)

async def main():
    return await poll_worksets(settings=name, until_done=True)

print(asyncio.run(main()))
print("ON THE LOOP", *sorted(found), sep="\\n")
"""


def test_no_file_program_or_name_is_asked_for_on_the_event_loop(site):
    """A share that hangs, a name server that does not answer: the lease is renewed all the same."""
    site.configure()
    for n in range(2):
        site.add(f"w{n}", 1)
    site.add("refused", 1, reference_genome="")
    (site.folder / "worksets" / "w1" / "a.fq").unlink()  # it is waited for, then comes
    process = site.start("-c", WATCHED, site.name, str(site.folder))
    site.until(lambda: "w0" in {id_ for id_, *_ in site.steps()}, 60)
    (site.folder / "worksets" / "w1" / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    said = site.finish(process)
    assert said.partition("ON THE LOOP\n")[2].strip() == ""
    assert site.db.get("w0").state == "complete" and site.db.get("w1").state == "complete"
