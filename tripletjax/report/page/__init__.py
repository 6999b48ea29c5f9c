"""A sweep as one page that opens from disk, without a network."""

from __future__ import annotations

from tripletjax.report.page.index import write_report

__all__ = ["write_report"]
