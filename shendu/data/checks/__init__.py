"""The checks of an audit: files and cells, copies, classes, columns, parts, labels."""

from shendu.data.checks import files
from shendu.data.checks.columns import check_columns, check_drift
from shendu.data.checks.files import check_files, check_table, files_of
from shendu.data.checks.rows import check_classes, check_copies, check_labels, check_lookalikes
from shendu.data.checks.subject import SEVERITIES, Example, Finding, Subject

CHECKS = (
    check_files, check_table, check_copies, check_lookalikes, check_classes, check_columns, check_drift, check_labels,
)  # fmt: skip

__all__ = ["CHECKS", "SEVERITIES", "Example", "Finding", "Subject", "files", "files_of"]
