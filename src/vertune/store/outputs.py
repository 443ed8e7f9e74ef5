"""Files with the predictions of jobs: where they lie, and how one is deleted with its job; knows nothing of what is in them."""

from __future__ import annotations

from pathlib import Path

from vertune.core.files import storage_errors
from vertune.store import jobs
from vertune.store.audit import note
from vertune.store.database import Database
from vertune.store.jobs import Job

OUTPUTS = "outputs"
"""Name of the folder of files with predictions, in the home folder."""


def delete_job(database: Database, home: Path, job: Job, actor: str) -> None:
    """Delete a job that has ended and its predictions, and tell the audit; raise Conflict if it is queued or runs.

    The files go first, so that a row remains for whoever repeats what was interrupted. A process that died leaves a temporary file.
    """
    jobs.check_ended(job)
    for file in [home / OUTPUTS / f"{job.id}.jsonl", *(home / OUTPUTS).glob(f".{job.id}.jsonl.*")]:
        with storage_errors(file):
            file.unlink(missing_ok=True)
    with database.writing() as connection:
        jobs.remove(connection, job)
        note(connection, actor, "delete", f"job {job.id}", {})
