# ruff: noqa: E501
"""What programs really say when they end badly, and what is made of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worksets.diagnosis import (
    KILLED,
    LAST_WORDS,
    NEAR,
    LogPattern,
    diagnose,
    known_exit_codes,
    known_patterns,
)
from worksets.errors import ErrorCategory as C

# tool, a last line as it is printed, class, what ran out
SAID = [
    ("worksets", "line 2 of the cluster's setup ended with exit code 127", C.TRANSIENT, ""),
    ("worksets", "it ended before the jobs that it had handed in: 17 18_1", C.CONFIGURATION, ""),
    ("Slurm", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed.", C.RESOURCE, "memory"),
    ("Slurm", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch cgroup.", C.RESOURCE, "memory"),
    ("Slurm", "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-01T10:00:00 DUE TO TIME LIMIT ***", C.RESOURCE, "time"),
    ("Slurm", "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-01T10:00:00 DUE TO PREEMPTION ***", C.TRANSIENT, ""),
    ("Slurm", "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-01T10:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", C.TRANSIENT, ""),
    ("export", "no results in /scratch/w/L1/results; did the pipeline write to it?", C.CONFIGURATION, ""),
    ("system", "sort: write failed: /scratch/x: No space left on device", C.RESOURCE, "disk"),
    ("system", "OSError: [Errno 122] Disk quota exceeded: 'x'", C.RESOURCE, "disk"),
    ("system", 'Exception in thread "main" java.lang.OutOfMemoryError: Java heap space', C.RESOURCE, "memory"),
    ("system", "terminate called after throwing an instance of 'std::bad_alloc'", C.RESOURCE, "memory"),
    ("system", "MemoryError", C.RESOURCE, "memory"),
    ("system", "cp: error reading '/fsx/a': Stale file handle", C.TRANSIENT, ""),
    ("system", "curl: (6) Could not resolve host: example.org", C.TRANSIENT, ""),
    ("system", "/bin/sh: 1: bwa: not found", C.CONFIGURATION, ""),
    ("system", "/usr/bin/bash: line 3: samtools: command not found", C.CONFIGURATION, ""),
    ("system", "ModuleNotFoundError: No module named 'pysam'", C.CONFIGURATION, ""),
    ("AWS", "upload failed: ./a to s3://b/a An error occurred (SlowDown) when calling the PutObject operation: Please reduce your request rate.", C.TRANSIENT, ""),
    ("AWS", "fatal error: An error occurred (403) when calling the HeadObject operation: Forbidden", C.CONFIGURATION, ""),
    ("AWS", "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the GetObject operation: Access Denied", C.CONFIGURATION, ""),
    ("AWS", "fatal error: An error occurred (404) when calling the HeadObject operation: Key \"a\" does not exist", C.DATA, ""),
    ("AWS", "An error occurred (ExpiredToken) when calling the ListObjectsV2 operation: The provided token has expired.", C.TRANSIENT, ""),
    ("AWS", "fatal error: Unable to locate credentials", C.CONFIGURATION, ""),
    ("AWS", 'Could not connect to the endpoint URL: "https://s3.us-west-2.amazonaws.com/"', C.TRANSIENT, ""),
    ("AWS", "An error occurred (InvalidObjectState) when calling the GetObject operation: The operation is not valid for the object's storage class", C.DATA, ""),
    ("system", "/usr/bin/bash: line 1: 4242 Killed                  samtools sort -m 9G a.bam", C.RESOURCE, "memory"),
    ("system", "subprocess.CalledProcessError: Command '['bwa']' died with <Signals.SIGKILL: 9>.", C.RESOURCE, "memory"),
    ("gzip", "gzip: stdin: unexpected end of file", C.DATA, ""),
    ("gzip", "gzip: a_R1.fastq.gz: unexpected end of file", C.DATA, ""),
    ("gzip", "EOFError: Compressed file ended before the end-of-stream marker was reached", C.DATA, ""),
    ("BWA", "[E::bwa_idx_load_from_disk] fail to locate the index files", C.CONFIGURATION, ""),
    ("BWA", "ERROR! Unable to open the file: /ref/hg38.fa.bwt.2bit.64", C.CONFIGURATION, ""),
    ("BWA", '[mem_sam_pe] paired reads have different names: "r1", "r2"', C.DATA, ""),
    ("BWA", "[E::main_mem] fail to open file `s1_R1.fastq.gz'.", C.DATA, ""),
    ("samtools", "[main_samview] truncated file.", C.DATA, ""),
    ("samtools", "a.bam was missing EOF block when one should be present.", C.DATA, ""),
    ("samtools", 'samtools sort: failed to read header from "-"', C.DATA, ""),
    ("samtools", "[E::bgzf_read_block] Invalid BGZF header at offset 1234", C.DATA, ""),
    ("samtools", "samtools sort: couldn't allocate memory for bam_mem", C.RESOURCE, "memory"),
    ("samtools", "[E::fai_build_core] Format error, unexpected \"x\" at line 1", C.CONFIGURATION, ""),
    ("samtools", "[E::hts_open_format] Failed to open file \"a.bam\" : No such file or directory", C.DATA, ""),
    ("samtools", "samtools view: failed to read header for \"a.sam\"", C.DATA, ""),
    ("GATK", "A USER ERROR has occurred: Input files reference and reads have incompatible contigs: No overlapping contigs found.", C.CONFIGURATION, ""),
    ("GATK", "A USER ERROR has occurred: The provided VCF file is malformed at approximately line number 3", C.DATA, ""),
    ("GATK", "A USER ERROR has occurred: Fasta index file file:///ref/hg38.fa.fai for reference file:///ref/hg38.fa does not exist.", C.CONFIGURATION, ""),
    ("GATK", "A USER ERROR has occurred: Argument output was missing: Argument 'output' is required", C.CONFIGURATION, ""),
    ("GATK", "htsjdk.samtools.SAMFormatException: Error parsing text SAM file. MRNM not specified", C.DATA, ""),
    ("Apptainer", "FATAL:   While making image from oci registry: error fetching image", C.TRANSIENT, ""),
    ("Apptainer", "FATAL:   could not open image /img/gatk.sif: no such file or directory", C.CONFIGURATION, ""),
    ("snakemake", "LockException:", C.CONFIGURATION, ""),
    ("snakemake", "Error: Directory cannot be locked. Please make sure that no other Snakemake process is trying to create the same files", C.CONFIGURATION, ""),
    ("snakemake", "MissingInputException in rule align in file /w/Snakefile, line 3:", C.DATA, ""),
    ("snakemake", "MissingOutputException in rule align in file /w/Snakefile, line 3:", C.TRANSIENT, ""),
    ("snakemake", "IncompleteFilesException:", C.CONFIGURATION, ""),
    ("snakemake", "NameError in file /w/Snakefile, line 12:", C.CONFIGURATION, ""),
    ("Slurm", "srun: error: Unable to confirm allocation for job 12: Socket timed out on send/recv operation", C.TRANSIENT, ""),
    ("Slurm", "slurmstepd: error: execve(): bwa: No such file or directory", C.CONFIGURATION, ""),
    ("system", "OSError: [Errno 24] Too many open files: 'a'", C.CONFIGURATION, ""),
    ("system", "Illegal instruction (core dumped)", C.CONFIGURATION, ""),
    ("AWS", "An error occurred (InsufficientInstanceCapacity) when calling the RunInstances operation: We currently do not have sufficient capacity", C.TRANSIENT, ""),
    ("AWS", "fatal error: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation: The specified bucket does not exist", C.CONFIGURATION, ""),
    ("BWA", "[E::bwa_set_rg] the read group line is not started with @RG", C.CONFIGURATION, ""),
    ("samtools", "[E::sam_parse1] CIGAR and query sequence are of different length", C.DATA, ""),
    ("snakemake", "WorkflowError in rule align, line 3 of Snakefile:", C.CONFIGURATION, ""),
    ("snakemake", "CreateCondaEnvironmentException:", C.TRANSIENT, ""),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "line", "category", "exhausted"), SAID)
def test_what_a_program_says_last_decides(tool, line, category, exhausted):
    log = f"[M::mem_process_seqs] Processed 1000 reads\n{line}\nend of the log"
    found = diagnose(1, log)
    assert (found.category, found.exhausted) == (category, exhausted)
    assert found.remedy.startswith(f"{tool}: ") and found.line == line


def test_every_pattern_is_said_by_some_line_of_this_test():
    """A pattern that no real message is known for is a guess."""
    silent = [
        entry.pattern
        for entry in known_patterns()
        if not any(re.search(entry.pattern, line) for _, line, _, _ in SAID)
    ]
    assert silent == []


GOOD_LOG = """\
[M::bwa_idx_load_from_disk] read 0 ALT contigs
[W::hts_idx_load3] The index file is older than the data file: a.bam.bai
[bam_sort_core] merging from 4 files and 8 in-memory blocks...
12:00:01.000 INFO  HaplotypeCaller - Shutting down engine
WARN: could not find a default value, permission checks are off
Finished job 0.
3 of 3 steps (100%) done
"""


def test_the_log_of_a_good_run_says_nothing_and_the_exit_code_decides():
    assert diagnose(65, GOOD_LOG).category is C.DATA
    assert diagnose(137, GOOD_LOG).exhausted == "memory"
    assert diagnose(-15, GOOD_LOG).category is C.TRANSIENT
    unknown = diagnose(3, GOOD_LOG)
    assert unknown.category is None and "read the step's log" in unknown.remedy


def test_only_the_end_of_a_log_counts():
    early = "MemoryError\n" + "fine\n" * 100
    assert diagnose(65, early).category is C.DATA


def test_an_installations_own_patterns_come_first():
    own = LogPattern(
        pattern="no space left", category=C.PERMANENT, remedy="call Ann", tool="caller"
    )
    assert diagnose(1, "caller: no space left on device", [own]).remedy == "caller: call Ann"
    with pytest.raises(ValidationError, match="no regular expression"):
        LogPattern(pattern="(", category=C.DATA, remedy="x")


def test_every_entry_tells_an_operator_something():
    for entry in (*known_patterns(), *known_exit_codes().values()):
        assert len(entry.remedy) > 15
        assert entry.category.retryable or not entry.exhausted


LINES = [line for _, line, _, _ in SAID]
NEUTRAL = [
    "[M::mem_process_seqs] Processed 1000 reads",
    "Finished job 3.",
    "",
    "    at a.b(C.java:1)",
]
WARNINGS = ["[W::bam_hdr_read] {}", "WARNING: {}", "12:00:01.000 WARN  Engine - {}", "cp: warning: {}",
            "UserWarning: {}", "[warn] {}", "INFO:    {}", "2026-01-01 10:00:00,123 INFO {}"]  # fmt: skip
RETRIED = ["{}; retrying in 5 s", "{} - will retry", "{}\nRetrying.", "{}\ncurl: trying again"]
PASSING = st.builds(lambda form, line: form.format(line), st.sampled_from(WARNINGS + RETRIED),
                    st.sampled_from(LINES))  # fmt: skip
NOISE = st.lists(st.sampled_from(NEUTRAL) | PASSING, max_size=4)
LITTLE = st.lists(st.sampled_from(NEUTRAL) | PASSING, max_size=2)


def follows(line):
    """Whether the entry that decides for this line alone says that it may be a consequence."""
    return next(entry.follows for entry in known_patterns() if re.search(entry.pattern, line))


CAUSES = [line for line in LINES if not follows(line)]
CONSEQUENCES = [line for line in LINES if follows(line)]


def test_a_warning_of_a_run_that_went_on_decides_nothing_when_it_is_killed():
    log = (
        "[W::bam_hdr_read] EOF marker is absent. The input is probably truncated\n"
        "[bam_sort_core] merging from 4 files and 8 in-memory blocks...\n"
    )
    assert diagnose(137, log) == diagnose(137, "")
    assert diagnose(-9, log).exhausted == "memory" and diagnose(143, log).category is C.TRANSIENT
    assert diagnose(1, log).category is None


@pytest.mark.parametrize("form", WARNINGS + RETRIED)
@pytest.mark.parametrize("line", LINES)
def test_what_is_only_a_warning_or_is_tried_again_decides_nothing(form, line):
    for code in (1, 65, 137):
        assert diagnose(code, form.format(line)) == diagnose(code, ""), form.format(line)


@given(st.sampled_from(sorted(KILLED)), st.booleans(), st.lists(st.sampled_from(LINES) | PASSING))
def test_what_is_killed_from_outside_has_never_a_fault_of_its_own(code, signal, lines):
    found = diagnose(128 - code if signal else code, "\n".join(lines))
    assert found.category in (C.RESOURCE, C.TRANSIENT)


@given(NOISE, st.sampled_from(LINES), NOISE, st.sampled_from(CAUSES), NOISE)
def test_of_two_causes_the_one_nearer_the_end_decides(before, early, between, late, after):
    log = "\n".join([*before, early, *between, late, *after])
    assert diagnose(1, log) == diagnose(1, late)


@given(NOISE, st.sampled_from(CAUSES), LITTLE, st.sampled_from(CONSEQUENCES), LITTLE)
def test_what_may_only_follow_from_something_yields_to_it(before, early, between, late, after):
    log = "\n".join([*before, early, *between, late, *after])
    assert diagnose(1, log) == diagnose(1, early)
    assert diagnose(1, "\n".join([*before, late, *after])) == diagnose(1, late)


@given(st.sampled_from([65, 66, 74, 75, 78, 127]), st.sampled_from(LINES))
def test_an_exit_code_with_a_meaning_is_outweighed_by_the_last_words_only(code, line):
    told = [line] + ["the program says more"] * (LAST_WORDS - 1)
    assert diagnose(code, "\n".join(told)) == diagnose(1, line)
    assert diagnose(code, "\n".join([*told, "and more"])) == diagnose(code, "")


@given(st.sampled_from(LINES))
def test_what_is_never_tried_again_is_said_near_the_end(line):
    log = "\n".join([line] + ["it went on"] * NEAR)
    found = diagnose(1, log)
    assert found == (diagnose(1, line) if diagnose(1, line).category.retryable else diagnose(1, ""))


def test_a_message_may_have_a_long_trace_below_it():
    trace = "\n".join(f"\tat htsjdk.samtools.A.b(A.java:{n})" for n in range(40))
    found = diagnose(1, f"htsjdk.samtools.SAMFormatException: Error parsing text SAM\n{trace}\n")
    assert found.category is C.DATA


@pytest.mark.parametrize(
    ("code", "log", "category"),
    [
        # a notice that every log of a cluster begins with
        (1, "Jobs end when there is no space left on device.\ncaller: what is this?", None),
        (1, "quota: Disk quota exceeded on /home\ngzip: a.fq.gz: not in gzip format", C.DATA),
        (65, "quota: Disk quota exceeded on /home\nreading\nreading\ncaller: no FASTQ", C.DATA),
        # a cause, and what a program behind it in the pipe makes of it
        (1, "/bin/sh: 1: bwa: not found\nsamtools sort: failed to read header from \"-\"", C.CONFIGURATION),
        (1, "curl: (56) Recv failure: Connection reset by peer\ngzip: stdin: unexpected end of file", C.TRANSIENT),
        # an index that may be missing was looked for; in the end it was something else
        (1, '[E::hts_open_format] Failed to open file "a.csi" : No such file or directory\n'
            + "reads done\n" * 12 + "caller: what is this?", None),
        # the disk was full, room was made, and then a file was damaged
        (1, "sort: write failed: /scratch/x: No space left on device\nmade room\n[main_samview] truncated file.", C.DATA),
        # killed below a program that goes on to end by itself
        (1, "[W::bam_hdr_read] EOF marker is absent. The input is probably truncated\n"
            "bash: line 1: 17 Killed    samtools sort\nError in rule sort:\n    jobid: 3", C.RESOURCE),
    ],
)  # fmt: skip
def test_logs_as_they_are(code, log, category):
    assert diagnose(code, log).category is category


def test_an_own_pattern_may_explain_a_kill_but_only_if_it_says_so():
    told = {"pattern": "watchdog fired", "category": C.RESOURCE, "remedy": "give it more time"}
    log = "site: watchdog fired after 3 h"
    assert diagnose(143, log, [LogPattern(**told)]).category is C.TRANSIENT
    assert diagnose(143, log, [LogPattern(**told, explains_a_kill=True)]).category is C.RESOURCE
