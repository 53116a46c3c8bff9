"""The rows of the scenario table, in the order in which docs/slurm.md shows them."""

from __future__ import annotations

from tests.scenarios import rows_of_failures, rows_of_jobs
from tests.scenarios.row import READERS, Row

ROWS: tuple[Row, ...] = (*rows_of_jobs.ROWS, *rows_of_failures.ROWS)

__all__ = ["READERS", "ROWS", "Row"]
