"""Faults in what is asked of clusters, what is believed of jobs, and whose they are."""

from unittest.mock import patch

import blocks.clusters.slurm.cluster
import blocks.clusters.slurm.refusals
import blocks.clusters.slurm.states
import worksets.belief
import worksets.jobs
import worksets.record
from blocks.clusters import SlurmCluster
from tests.simulation.markers import Folder
from tests.simulation.mutations.registry import mutation
from worksets.errors import ClusterUnreachable, ResourceError
from worksets.jobs import JobStatus, Phase


@mutation
def an_unanswered_question_is_an_end():
    real = SlurmCluster.observe

    def observe(self, names):
        try:
            return real(self, names)
        except ClusterUnreachable:
            return {name: JobStatus(name, Phase.VANISHED) for name in names}

    yield patch.object(SlurmCluster, "observe", observe)


@mutation
def a_job_that_is_not_listed_is_gone_at_once():
    def believe(before, name, word, markers, now, _late_s, began):
        return worksets.belief.believe(before, name, word, markers, now, 0, began)

    yield patch.object(blocks.clusters.slurm.cluster, "believe", believe)


@mutation
def an_end_without_its_marker_is_believed_at_once():
    def believe(before, name, word, markers, now, late_s, began):
        late_s = 0 if word is not None and word.phase is Phase.ENDED else late_s
        return worksets.belief.believe(before, name, word, markers, now, late_s, began)

    yield patch.object(blocks.clusters.slurm.cluster, "believe", believe)


@mutation
def claims_do_not_keep_a_second_job_out():
    yield patch.object(Folder, "claim", lambda self: True)


@mutation
def a_damaged_marker_raises():
    real = blocks.clusters.slurm.cluster.parse_markers

    def parse_markers(text, folders):
        found = real(text, folders)
        if any(markers.unreadable for markers in found.values()):
            raise ValueError("a marker is damaged")
        return found

    yield patch.object(blocks.clusters.slurm.cluster, "parse_markers", parse_markers)


@mutation
def a_job_is_sealed_at_one_empty_answer():
    def believe(before, name, word, markers, now, late_s, began):
        late_s = 0 if word is None and not markers.claimed else late_s
        return worksets.belief.believe(before, name, word, markers, now, late_s, began)

    yield patch.object(blocks.clusters.slurm.cluster, "believe", believe)


@mutation
def a_full_disk_of_the_controller_is_charged_to_the_workset():
    yield patch.dict(blocks.clusters.slurm.refusals.ERRORS, refused=ResourceError)


@mutation
def nobody_is_told_of_a_job_that_waits_for_somebody():
    yield patch.object(blocks.clusters.slurm.states, "remedy_of", lambda _reason: "")


@mutation
def jobs_of_another_installation_are_counted():
    yield patch.object(blocks.clusters.slurm.cluster, "is_of", lambda _name, _installation: True)


@mutation
def names_of_jobs_do_not_hold_the_installation():
    for module in (worksets.record, worksets.jobs):
        yield patch.object(module, "home_of", lambda workset_id, _uid: workset_id)
