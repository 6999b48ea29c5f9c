"""Pictures of a finished run and of an evaluation; reads files only."""

from __future__ import annotations

from tripletjax.report.evaluation import draw_evaluation
from tripletjax.report.pictures import draw_pictures

__all__ = ["draw_evaluation", "draw_pictures"]
