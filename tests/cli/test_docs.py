"""The pages tell the truth where that can be checked: commands, links, settings, the unit file."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from cli.main import app
from local import settings_file

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)


def blocks(page, kind=""):
    """The blocks of code of one kind in a page, with less indentation where they stand in lists."""
    return [text for found, text in FENCED.findall(page.read_text("utf-8")) if found == kind]


def commands(page):
    """Every `worksets COMMAND …` of a page, in blocks and within sentences."""
    lines = [line.strip() for text in blocks(page) for line in text.splitlines()]
    prose = FENCED.sub("", page.read_text("utf-8"))
    lines += [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        if re.match(r"worksets [a-z]+( |$)", line):
            words = shlex.split(line, comments=True)
            yield [word for word in words[1:] if word not in ("…", "...")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_pages_is_one(page):
    if page.name == "reference.md":
        return  # it is printed from the commands themselves
    for words in commands(page):
        if len(words) == 1:
            assert words[0] in [*app], words  # its name alone, in a sentence
        elif words[-1] != "--help":
            app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = FENCED.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name) if name else page
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", FENCED.sub("", other.read_text("utf-8")), re.M)
            assert anchor in [as_anchor(title) for title in titles], target


def as_anchor(title):
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_first_screen_of_the_readme_says_how_to_try_it():
    first = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:25])
    for word in ("make run", "make serve", "make test", "docs/prefect-ui.png"):
        assert word in first, word


def test_the_tutorials_settings_for_slurm_are_right(tmp_path):
    (clusters,) = [text for text in blocks(ROOT / "docs/tutorial.md", "yaml") if "slurm" in text]
    template = (ROOT / "cli/templates/settings.yaml").read_text("utf-8")
    settings = yaml.safe_load(template) | yaml.safe_load(clusters)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    _, _, (cluster,) = settings_file.read(tmp_path / "settings.yaml", tmp_path)
    assert cluster.cluster_name == "hpc1"


def test_a_stop_of_the_service_lets_local_jobs_live():
    unit = (ROOT / "docs/worksets.service").read_text("utf-8")
    assert "\nKillMode=process\n" in unit and "\nSuccessExitStatus=143\n" in unit
    (start,) = re.findall(r"^ExecStart=\S+/worksets (.+)$", unit, re.M)
    app.parse_args(shlex.split(start), exit_on_error=False, print_error=False)
