"""What is said to Slurm: the job's script, and the shell that hands it in. Pure text.

Every text is quoted by `shlex.quote`; a workset's own words never stand where a shell reads code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import join, quote

from worksets.jobs import JobSpec, StepCommand
from worksets.record import Step

EARLIER_OR_TWICE = 75
"""Exit code of a job that found its attempt claimed or sealed already: it ran nothing."""

SETUP_FAILED = 75
"""Exit code (sysexits.h, EX_TEMPFAIL): the node's trouble is more likely than the workset's."""
NO_RECEIPT = 70
"""Exit code (sysexits.h) of a step that left no receipt."""
TERMINATED = 143
"""Exit code, as shells have it, of what SIGTERM has ended."""
SUBMITTING = "@submitting"


def job_script(
    spec: JobSpec,
    jobs: str,
    work_dir: str,
    umask: str = "027",
    tag_jobs: bool = True,
    setup: Sequence[str] = (),
) -> str:
    """The batch script of an attempt: it claims the attempt, then runs its steps in order.

    `tag_jobs`: what its steps hand in to Slurm bears the attempt's name as its wckey, and the run
    step has failed while any of that is still there. `setup`: shell lines of the cluster's settings
    that come before the first step; of one that fails, that step has failed, and says so.

    `jobs` is the folder with one folder `aN` an attempt. `mkdir` of `claim` is the claim: of two
    jobs of one attempt the second ends at once, and the claims of earlier attempts are taken
    first, so that a job of theirs that starts late runs nothing. Markers appear by `mv`, whole.
    """
    job = f"{jobs}/a{spec.attempt}"
    lines = [
        "#!/bin/sh",
        f"umask {quote(umask)}",
        f"J={quote(job)}",
        "now() { date -u +%Y-%m-%dT%H:%M:%S.%6N+00:00; }",
        # whole, or not there: also after a power cut, where `sync` takes a file
        'put() { printf %s "$2" > "$J/.$1.$$" && { sync "$J/.$1.$$" 2>/dev/null || :; } &&'
        ' mv "$J/.$1.$$" "$J/$1"; }',
    ]
    for attempt in range(1, spec.attempt):
        earlier = f"{jobs}/a{attempt}"
        lines.append(f"mkdir -p {quote(earlier)}")
        seal = f"mkdir {quote(f'{earlier}/claim')} 2>/dev/null"
        lines.append(f"{seal} && echo sealed > {quote(f'{earlier}/sealed')}")
    lines += [
        f'mkdir "$J/claim" || exit {EARLIER_OR_TWICE}',
        'put job "${SLURM_JOB_ID:-}"',
        # a shell without a trap would end at the signal to stop, and Slurm kill what it had begun;
        # with one it waits for its step, which has its grace to end in order
        "stopped=",
        "trap 'stopped=1' TERM",
        *(_set_up(setup, spec.steps[0].step.value) if setup else ()),
        f"cd {quote(work_dir)} || exit 74",
        *(_tagged(spec.name) if tag_jobs else ()),
    ]
    for step in spec.steps:
        name = step.step.value
        lines += [
            f'[ -z "$stopped" ] || exit {TERMINATED}',
            "at=$(now)",
            f'[ -n "$at" ] && put {name}.start "{{\\"at\\":\\"$at\\"}}" || exit 74',
            *_before(step),
            f'{join(step.argv)} </dev/null >>"$J/{name}.log" 2>&1; code=$?',
            *_after(step),
            *(_none_left(spec.name) if tag_jobs and step.step is Step.RUN else ()),
            # it may have ended well or have left off: it runs again, and what is done stays done
            f'[ -z "$stopped" ] || [ $code -ne 0 ] || {{ code={TERMINATED}; told=; }}',
            # no marker rather than one without a time: a signal may have reached `date`, too
            "at=$(now)",
            # of its children; in a file, for a pipe would have children of its own
            'times >"$J/.times" 2>/dev/null; took=$(tail -n 1 "$J/.times" 2>/dev/null)',
            f'[ -n "$at" ] && put {name}.exit "{{\\"at\\":\\"$at\\",\\"code\\":$code$told,'
            '\\"times\\":\\"$took\\"}"'
            " || exit 74",
            "[ $code -eq 0 ] || exit $code",
        ]
    # sbatch refuses a script with DOS line breaks; they stand in quoted texts only: quoted apart
    return "\n".join([*lines, ""]).replace("\r\n", "\r''\n")


def _before(step: StepCommand) -> list[str]:
    """What comes before a step: a folder is emptied, and the receipt of a try before is gone."""
    lines = ["told="]
    if step.empties:
        # without a slash at its end a link is removed, not what it leads to
        folder = quote(step.empties)
        lines.append(f"rm -rf -- {folder} && mkdir -p -- {folder} || exit 74")
    if step.receipt:
        lines.append(f"rm -f -- {quote(step.receipt)} || exit 74")
    return lines


def _after(step: StepCommand) -> list[str]:
    """A step that has to leave a receipt has failed without it; what it says goes into the end."""
    if not step.receipt:
        return []
    receipt, name = quote(step.receipt), step.step.value
    return [
        f"if [ $code -eq 0 ] && [ -s {receipt} ]; then",
        f'  told=",\\"exported\\":$(cat {receipt})"',
        "elif [ $code -eq 0 ]; then",
        f"  code={NO_RECEIPT}",
        f'  echo "it left no receipt of what it brought to its place" >>"$J/{name}.log"',
        "fi",
    ]


def _set_up(lines: Sequence[str], first: str) -> list[str]:
    """The operators' own lines, in this shell: what they set is there for every step."""
    failed = "line %s of the cluster's setup ended with exit code %s\\n"
    marks = '"{\\"at\\":\\"$(now)\\"'
    script = [
        "setup_failed() {",
        "  trap - EXIT",
        f'  put {first}.start {marks}}}"',
        f'  {{ cat "$J/setup.log"; printf {quote(failed)} "$1" "$2"; }} >>"$J/{first}.log"',
        f'  put {first}.exit {marks},\\"code\\":{SETUP_FAILED}}}"',
        f"  exit {SETUP_FAILED}",
        "}",
        # a file that is not there ends the shell that reads it with `.`
        "trap 'setup_failed \"$setup_line\" $?' EXIT",
    ]
    for number, text in enumerate(lines, 1):
        script.append(
            f'setup_line={number}; command eval {quote(text)} >>"$J/setup.log" 2>&1'
            f" || setup_failed {number} $?"
        )
    # what a line has said of the shell itself is over with it
    return [*script, "trap - EXIT", "trap 'stopped=1' TERM", "set +eu"]


def _tagged(name: str) -> list[str]:
    """sbatch, salloc and srun give a job the wckey that stands in the environment."""
    return [f"export {command}_WCKEY={quote(name)}" for command in ("SBATCH", "SALLOC", "SLURM")]


def _none_left(name: str) -> list[str]:
    """A step that ends well while jobs that it has handed in are there has not waited for them."""
    states = "PENDING,CONFIGURING,RUNNING,SUSPENDED"
    listed = f"squeue -h -a --me -t {states} -o '%w|%i' 2>/dev/null"
    return [
        f"left=; [ $code -ne 0 ] || left=$({listed} | grep -F {quote(f'{name}|')} | cut -d'|' -f2)",
        '[ -z "$left" ] || {',
        f"  code={NO_RECEIPT}; told=",
        '  echo "it ended before the jobs that it had handed in:" $left >>"$J/run.log"',
        "}",
    ]


def submit_shell(
    folders: Sequence[str],
    files: Mapping[str, str],
    job: str,
    sbatch: Sequence[str],
    umask: str = "027",
    environment: Mapping[str, str] | None = None,
    earlier: Iterable[str] = (),
) -> str:
    """The shell that makes folders and files and hands the job in, last of all.

    What attempts before it (`earlier`) have left in the queue is cancelled first.

    It prints `SUBMITTING` before that: without it, certainly nothing was handed in.
    """
    lines = ["set -eu", f"umask {quote(umask)}", f"mkdir -p {join(folders)}"]
    for path, text in files.items():
        lines.append(f"printf %s {quote(text)} > {quote(path + '.new')}")
        lines.append(f"mv {quote(path + '.new')} {quote(path)}")
    lines += _cancels(earlier)
    # Slurm hands on what sbatch is started with
    lines += [f"export {key}={quote(value)}" for key, value in (environment or {}).items()]
    lines += [
        f"echo {SUBMITTING}",
        f"id=$({join(sbatch)})",
        f'printf %s "$id" > {quote(job + "/submitted")}',
        'echo "$id"',
    ]
    return "\n".join([*lines, ""])


def cancel_shell(job: str, name: str, grace_s: float, for_good: bool) -> str:
    """The shell that stops a job: one SIGTERM to all its processes, and the kill, by a later call,
    when its grace is over.

    `scancel` by itself sends the batch step no SIGTERM at all: it is killed after `KillWait`. A job
    that never began is sealed, and one that waits is cancelled at once.
    """
    which = f"--me --name={quote(name)}"
    seconds = round(grace_s)
    lines = [
        f"mkdir -p {quote(job)} && cd {quote(job)} || exit 74",
        ": > cancelled" if for_good else ":",
        "mkdir claim 2>/dev/null && echo sealed > sealed",
        f"scancel --state=PENDING {which}",
        f"if [ {seconds} -eq 0 ]; then scancel --full {which}",
        "elif [ ! -e stopped ]; then",
        f"  scancel --full --signal=TERM {which} && : > stopped",
        f'elif [ "$(($(date +%s) - $(date -r stopped +%s)))" -ge {seconds} ]; then',
        f"  scancel --full {which}",
        "fi",
    ]
    return "\n".join([*lines, ""])


def cancel_left_shell(names: Iterable[str]) -> str:
    """The shell that cancels what the steps of these jobs have handed in."""
    return "\n".join([*_cancels(names), ""])


def _cancels(names: Iterable[str]) -> Iterable[str]:
    # one that has ended meanwhile is none to speak of; the next look says whether any is there
    return (f"scancel --me --wckey={quote(name)} 2>/dev/null || :" for name in names)


def clean_shell(keep: str) -> str:
    """The shell that forgets every variable but those named in `keep`, `A|B|…`.

    A poller's own keys reach no job; `SLURM_…` and `SQUEUE_…` of a job or a profile around it
    change no command.
    """
    return (
        "for v in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do\n"
        f'  case "$v" in {keep}) ;; *) unset "$v" ;; esac\n'
        "done\n"
    )


def archive_shell(
    umask: str,
    environment: Mapping[str, str],
    setup: Sequence[str],
    record: str,
    argv: Sequence[str],
) -> str:
    """The shell that gives a record to a program, with all that a step of a job would have."""
    lines = [f"umask {quote(umask)}"]
    lines += [f"export {key}={quote(value)}" for key, value in environment.items()]
    lines += [f"command eval {quote(text)} >/dev/null 2>&1" for text in setup]
    lines.append(f"printf %s {quote(record)} | {join(argv)}")
    return "\n".join([*lines, ""])


def on_another(name: str) -> str:
    """Shell functions by which Slurm's commands speak of another cluster of the same slurmdbd.

    squeue and sinfo print its name as the first line then, and sbatch after the job's id
    (sbatch(1), `--clusters` and `--parsable`): those are taken away.
    """
    answer = {
        "squeue": "sed '1{/^CLUSTER: /d;}'",
        "sinfo": "sed '1{/^CLUSTER: /d;}'",
        "sbatch": "cut -d';' -f1",
    }
    lines = []
    for command in ("sbatch", "squeue", "scancel", "sinfo", "scontrol", "sacct"):
        call = f'command {command} -M {quote(name)} "$@"'
        if command in answer:
            call = f"said=$({call}) || return; printf '%s\\n' \"$said\" | {answer[command]}"
        lines.append(f"{command}() {{ {call}; }}")
    return "\n".join([*lines, ""])


def framed(shell: str, token: str) -> str:
    """The shell, so that what it says can be told from what a profile or a banner says.

    Both streams begin with a line `@TOKEN`; stdout ends with a line `@TOKEN CODE`, its exit code.
    """
    return (
        f"echo; echo @{token}; echo >&2; echo @{token} >&2\n"
        f"trap 'code=$?; echo; echo \"@{token} $code\"' EXIT\n{shell}"
    )


def unframed(stdout: str, stderr: str, token: str) -> tuple[int, str, str] | None:
    """Exit code, stdout and stderr of a `framed` shell; None: its answer is not whole."""
    _, begun, rest = stdout.partition(f"@{token}\n")
    said, ended, code = rest.rpartition(f"\n@{token} ")
    number = code.partition("\n")[0]
    if not begun or not ended or not number.isdecimal():
        return None
    return int(number), said, stderr.rpartition(f"@{token}\n")[2]


def markers_shell(jobs: Mapping[str, str], seal: bool = False) -> str:
    """The shell that prints the markers of jobs (name to folder), each file packed in base64.

    `seal`: take the attempts away first from jobs that have not begun: then they never will.
    """
    lines = []
    for name, folder in jobs.items():
        lines += [
            f"echo @ {quote(name)}",
            f"if cd {quote(folder)} 2>/dev/null; then",
            "  if mkdir claim 2>/dev/null; then echo sealed > sealed; fi" if seal else "  :",
            "  for f in steps job *.start *.exit; do",
            '    [ -e "$f" ] && echo "$f $(head -c 4096 "$f" 2>/dev/null | base64 | tr -d "\\n")"',
            "  done",
            "  [ -d claim ] && echo claimed",
            '  for f in sealed submitted cancelled; do [ -e "$f" ] && echo "$f"; done',
            f"elif [ -e {quote(folder)} ] || ! [ -d {quote(folder.rsplit('/', 3)[0])} ]; then",
            "  echo unreadable",
            "fi",
        ]
    return "\n".join([*lines, "exit 0", ""])


def accounting_shell(names: Iterable[str]) -> str:
    """The shell that prints `ID|NAME|STATE` of ended jobs, from slurmdbd or the jobcomp file.

    Nothing where a cluster has neither.
    """
    names = sorted(names)
    fields = "-nP -o JobID,JobName,State"
    wanted = " ".join(f"-e {quote(f'|{name}|')}" for name in names)
    return "\n".join(
        [
            f"found=$(sacct {fields} -X -S now-30days --name={quote(','.join(names))} 2>/dev/null)"
            f" || found=$(sacct -c {fields} 2>/dev/null)",
            f'printf "%s\\n" "$found" | grep -F {wanted}',
            "exit 0",
            "",
        ]
    )
