"""Is a file right? A workset's, or the settings'; without a server, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blocks.folders import LocalSource
from blocks.settings import WorksetSettings
from cli.site import is_file
from local import settings_file
from tasks.validate import allowed, check_settings, on_site
from worksets.delivery import NotThere, Seen
from worksets.errors import ConfigurationError, DataError, WorksetError
from worksets.genomes import COMMON
from worksets.inputs import inputs_of
from worksets.spec import FILE_NAME, WorksetSpec, parse_spec
from worksets.texts import plain
from worksets.yaml_safe import MAX_BYTES


def check(what: Path, settings: str | None, files: bool) -> dict[str, Any]:
    """`right`, `kind` (workset or settings), `told`, and all `mistakes` and `warnings`."""
    if what.is_dir() or what.name == FILE_NAME or _has_samples(what):
        return _workset(what, settings, files)
    return _settings(what)


def _has_samples(file: Path) -> bool:
    """Whether a file of another name is a workset's: it has samples at its first level."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES)
    except OSError:
        return False
    return any(part.startswith(b"samples:") for part in data.splitlines())


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings, _, clusters = settings_file.read(file, Path.cwd())
    except ConfigurationError as error:
        return _result("settings", "", str(error).splitlines(), [])
    counts = (
        (len(clusters), "cluster"),
        (len(settings.customers), "customer"),
        (len(settings.pipelines), "pipeline"),
    )
    told = ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts)
    # lawful, and nothing would ever start
    empty = [
        f"{file}: there is no {name}: nothing can start" for count, name in counts if not count
    ]
    if not settings.worksets:
        empty.append(f"{file}: `worksets` names no place: nothing is ever found")
    return _result("settings", told, [], empty)


def _workset(what: Path, settings: str | None, files: bool) -> dict[str, Any]:
    folder = what if what.is_dir() else what.parent
    folder = folder.absolute()
    try:
        opened = LocalSource(str(folder.parent)).open(f"file://{folder}")
        data = opened.read_spec().data if what.is_dir() or what.name == FILE_NAME else _data(what)
        name = FILE_NAME if what.is_dir() else str(what)
        parsed = parse_spec(data, name, opened.read_sheet)
        spec, known = parsed.spec, None
        if settings is not None:
            known, genomes = _known(settings)
            spec = on_site(spec, known, genomes)
            check_settings(spec, f"file://{folder}", known)
    except WorksetError as error:
        return _result("workset", "", plain(str(error)).splitlines(), [])
    mistakes: list[str] = []
    warnings = list(parsed.warnings)
    if known is None and spec.reference_genome not in (None, *COMMON):
        warnings.append(
            f"{name}: whether there is a reference genome {spec.reference_genome} is the site's "
            f"word: check with --settings FILE"
        )
    if files:
        mistakes, more = _files(opened, spec, f"file://{folder}", known)
        warnings += more
    count = len(spec.samples)
    genome = spec.reference_genome or "the pipeline's reference genome"
    told = f"{count} sample{'s' * (count != 1)}, {spec.pipeline} on {genome}"
    return _result("workset", told, mistakes, warnings)


def _files(
    folder: Any, spec: WorksetSpec, location: str, settings: WorksetSettings | None
) -> tuple[list[str], list[str]]:
    """What is wrong with its FASTQ files, and which were not looked at."""
    try:
        roots = allowed(spec, settings) if settings else _roots(spec)
        inputs = inputs_of(spec, location, roots)
        found = folder.look([entry for entry in inputs if not entry.uri])
    except WorksetError as error:
        return str(error).splitlines(), []
    mistakes = [str(seen) for seen in found.values() if isinstance(seen, (NotThere, DataError))]
    assert all(isinstance(seen, (Seen, DataError)) for seen in found.values())
    away = [entry.uri for entry in inputs if entry.uri]
    return mistakes, [f"{uri}: lies elsewhere; it was not looked at" for uri in away]


def _roots(spec: WorksetSpec) -> tuple[str, ...]:
    """Without settings any place that a file names is believed to be allowed."""
    return tuple({name.rpartition("/")[0] for name in spec_files(spec) if "://" in name})


def spec_files(spec: WorksetSpec) -> list[str]:
    return [*(name for sample in spec.samples for name in sample.files), *spec.inputs]


def _known(settings: str) -> tuple[WorksetSettings, list[list[str]]]:
    """The settings of a file, and the reference genomes that each of its clusters lists."""
    if not is_file(settings):
        raise ConfigurationError("for a check name a settings file: --settings FILE.yaml")
    read, _, clusters = settings_file.read(Path(settings), Path.cwd())
    return read, [cluster.reference_genomes for cluster in clusters]


def _data(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None


def _result(kind: str, told: str, mistakes: list[str], warnings: list[str]) -> dict[str, Any]:
    return {
        "kind": kind,
        "right": not mistakes,
        "told": told,
        "mistakes": mistakes,
        "warnings": warnings,
    }
