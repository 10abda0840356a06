"""What is said to Slurm: the job's script, and the shell that hands it in. Pure text.

Every text is quoted by `shlex.quote`; a workset's own words never stand where a shell reads code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import join, quote

from worksets.jobs import JobSpec

EARLIER_OR_TWICE = 75
"""Exit code of a job that found its attempt claimed or sealed already: it ran nothing."""

SUBMITTING = "@submitting"


def job_script(spec: JobSpec, jobs: str, work_dir: str) -> str:
    """The batch script of an attempt: it claims the attempt, then runs its steps in order.

    `jobs` is the folder with one folder `aN` an attempt. `mkdir` of `claim` is the claim: of two
    jobs of one attempt the second ends at once, and the claims of earlier attempts are taken
    first, so that a job of theirs that starts late runs nothing. Markers appear by `mv`, whole.
    """
    job = f"{jobs}/a{spec.attempt}"
    lines = [
        "#!/bin/sh",
        f"J={quote(job)}",
        "now() { date -u +%Y-%m-%dT%H:%M:%S.%6N+00:00; }",
        'put() { printf %s "$2" > "$J/.$1.$$" && mv "$J/.$1.$$" "$J/$1"; }',
    ]
    for attempt in range(1, spec.attempt):
        earlier = f"{jobs}/a{attempt}"
        lines.append(f"mkdir -p {quote(earlier)}")
        seal = f"mkdir {quote(f'{earlier}/claim')} 2>/dev/null"
        lines.append(f"{seal} && echo sealed > {quote(f'{earlier}/sealed')}")
    lines += [
        f'mkdir "$J/claim" || exit {EARLIER_OR_TWICE}',
        'put job "${SLURM_JOB_ID:-}"',
        f"cd {quote(work_dir)} || exit 74",
    ]
    for step in spec.steps:
        name = step.step.value
        lines += [
            f'put {name}.start "{{\\"at\\":\\"$(now)\\"}}" || exit 74',
            f'{join(step.argv)} </dev/null >>"$J/{name}.log" 2>&1; code=$?',
            f'put {name}.exit "{{\\"at\\":\\"$(now)\\",\\"code\\":$code}}" || exit 74',
            "[ $code -eq 0 ] || exit $code",
        ]
    # sbatch refuses a script with DOS line breaks; they stand in quoted texts only: quoted apart
    return "\n".join([*lines, ""]).replace("\r\n", "\r''\n")


def submit_shell(
    folders: Sequence[str], files: Mapping[str, str], job: str, sbatch: Sequence[str]
) -> str:
    """The shell that makes folders and files and hands the job in, last of all.

    It prints `SUBMITTING` before that: without it, certainly nothing was handed in.
    """
    lines = ["set -eu", f"mkdir -p {join(folders)}"]
    for path, text in files.items():
        lines.append(f"printf %s {quote(text)} > {quote(path + '.new')}")
        lines.append(f"mv {quote(path + '.new')} {quote(path)}")
    lines += [
        f"echo {SUBMITTING}",
        f"id=$({join(sbatch)})",
        f'printf %s "$id" > {quote(job + "/submitted")}',
        'echo "$id"',
    ]
    return "\n".join([*lines, ""])


def markers_shell(jobs: Mapping[str, str], ended: frozenset[str]) -> str:
    """The shell that prints the markers of jobs (name to folder) that Slurm has not running.

    Those that Slurm says have `ended`, and those it has forgotten after taking them, are sealed on
    the way: if they had not begun, they never will.
    """
    lines = []
    for name, folder in jobs.items():
        seal = "true" if name in ended else f"[ -e {quote(folder + '/submitted')} ]"
        lines += [
            f"echo @ {quote(name)}",
            f"if cd {quote(folder)} 2>/dev/null; then",
            f"  if {seal} && mkdir claim 2>/dev/null; then echo sealed > sealed; fi",
            "  for f in steps job *.start *.exit sealed; do",
            '    [ -f "$f" ] && echo "$f $(cat "$f")"',
            "  done",
            '  [ -d claim ] && echo "claim"',
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
