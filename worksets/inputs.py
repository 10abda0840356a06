"""The files of a workset: where each lies, and under which name it is staged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from worksets.errors import ConfigurationError
from worksets.jobs import Input, SampleFiles
from worksets.spec import WorksetSpec
from worksets.texts import few, listed
from worksets.uris import lies_below

ELSEWHERE: Final = "elsewhere"
"""Folder, below the inputs, of files that do not lie in the workset's own folder."""


def inputs_of(spec: WorksetSpec, location: str, allowed: Sequence[str]) -> tuple[Input, ...]:
    """Every file of the workset at `location`: those of its samples, then its other inputs.

    A whole URI below the location is one of its own files; any other must lie below one of
    `allowed`, the `inputs` of its customer.

    Raises:
        ConfigurationError: a URI leads to where the customer has nothing.
    """
    found, refused = [], []
    for where, folder, text, digests in _named(spec):
        if "://" not in text:
            found.append(Input(name=text, **digests))
        elif lies_below(text, location):
            found.append(Input(name=text[len(location.rstrip("/")) + 1 :], **digests))
        elif root := next((root for root in allowed if lies_below(text, root)), ""):
            # two files of one name, from two places, must not meet
            name = f"{folder}/{text.rpartition('/')[2]}"
            found.append(Input(name=name, uri=text, root=root, **digests))
        else:
            refused.append(f"{where}: {text}")
    if refused:
        places = few(allowed) or "none are named in the settings"
        told = listed(
            refused,
            lambda where: (
                f"daylily_work.yaml: {where} lies neither in the workset's folder nor in one of "
                f"its customer's inputs ({places})"
            ),
        )
        raise ConfigurationError("\n".join(told))
    names = [entry.name for entry in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"daylily_work.yaml: two samples or lanes name the same file, {few(twice, 5)}"
        )
    return tuple(found)


def _named(spec: WorksetSpec) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Of each file: where the YAML names it, its folder if it lies elsewhere, its text, digests."""
    for index, sample in enumerate(spec.samples):
        for number, text in enumerate(sample.files):
            digests = {
                kind: given[number]
                for kind, given in (("md5", sample.md5), ("sha256", sample.sha256))
                if number < len(given)
            }
            # an index lies beside what it is of
            folder = f"{ELSEWHERE}/{sample.sample_id}/{1 if sample.aligned else number + 1}"
            yield f"samples[{index}] ({sample.sample_id})", folder, text, digests
    for number, text in enumerate(spec.inputs):
        yield f"inputs[{number}]", f"{ELSEWHERE}-inputs/{number + 1}", text, {}


def samples_of(spec: WorksetSpec, inputs: Sequence[Input]) -> tuple[SampleFiles, ...]:
    """The samples as a step's program reads them: paths below the inputs folder.

    Of a sample with a BAM or CRAM file: `bam` or `cram`, and `index`. Of one with a single lane
    `fastq_r1` and `fastq_r2` are texts, else lists in the lanes' order.
    `sheet`: of each lane, the other columns of `stage_samples.tsv`, if its samples stand there.
    """
    names = iter(entry.name for entry in inputs)
    told: list[SampleFiles] = []
    for sample in spec.samples:
        if sample.aligned:
            kind = "bam" if sample.bam else "cram"
            files = {kind: next(names), "index": next(names)}
            told.append({"sample_id": sample.sample_id, **files, "coverage": sample.coverage})
            continue
        first = [next(names) for _ in sample.fastq_r1 or ()]
        second = [next(names) for _ in sample.fastq_r2 or ()]
        told.append(
            {
                "sample_id": sample.sample_id,
                "fastq_r1": first[0] if len(first) == 1 else first,
                "fastq_r2": None if not second else second[0] if len(second) == 1 else second,
                "coverage": sample.coverage,
                **({"sheet": list(sample.sheet)} if sample.sheet else {}),
            }
        )
    return tuple(told)
