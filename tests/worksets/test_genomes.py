"""Which reference genomes there are is the site's word."""

import pytest

from worksets.genomes import COMMON, genome_at, known_genomes


@pytest.mark.parametrize(
    ("asked", "named", "on_clusters", "found"),
    [
        ("mm39", [], ["mm39"], "mm39"),  # F6: refused, while a cluster lists it
        ("mm39", ["mm39"], [], "mm39"),
        ("mm39", [], [], ""),
        ("grcm39", [], ["GRCm39"], "GRCm39"),
        ("hg38", [], [], "hg38"),
        ("hg38", ["mm39"], [], ""),  # the settings' list stands for itself
        ("hg38", ["mm39"], ["hg38"], "hg38"),
        # two names of one assembly, told apart only where the site does
        ("grch38", [], ["hg38"], "hg38"),
        ("hg38", [], ["grch38"], "grch38"),
        ("grch38", [], ["hg38", "grch38"], "grch38"),
        ("grch38", ["grch38"], ["hg38"], "grch38"),
        # these two are not one: their mitochondria differ
        ("grch37", ["hg19"], [], ""),
        ("b37", [], ["grch37"], "b37"),
    ],
)
def test_a_genome_is_what_the_site_has_under_that_name(asked, named, on_clusters, found):
    assert genome_at(asked, named, on_clusters) == found


def test_a_cluster_that_takes_all_has_what_is_known_under_its_own_name():
    """Another cluster that lists GRCh38 renames nothing that runs on this one."""
    assert genome_at("hg38", [], ["GRCh38"], any_name=True) == "hg38"
    assert genome_at("grch38", [], ["GRCh38"], any_name=True) == "grch38"
    assert genome_at("grcm39", [], ["GRCm39"], any_name=True) == "GRCm39"
    spellings = ["GRCh38", "GRCH38"]
    assert genome_at("hg38", [], spellings) == genome_at("hg38", [], spellings[::-1]) == "GRCH38"


def test_people_are_told_which_there_are():
    assert known_genomes([], ["mm39"]) == sorted([*COMMON, "mm39"])
    assert known_genomes(["mm39"], ["hg38"]) == ["hg38", "mm39"]
