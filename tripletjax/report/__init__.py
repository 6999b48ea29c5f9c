"""Pictures of a finished run; reads files only."""

from __future__ import annotations

from tripletjax.report.pictures import draw_pictures

__all__ = ["draw_pictures"]
