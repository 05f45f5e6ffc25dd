"""Writes `src/runner/tables.json`: what JavaScript has to know exactly as Python does.

From one place, so that the two cannot differ: the manifest's version, the fields and slots of the
kernel's descriptor, its error numbers, and the tokens that begin and end texts.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path

from mlr.bundle import manifest
from mlr.engines.kernel import abi, descriptor
from mlr.formats.model_config import CHOICES, ModelConfig
from mlr.tokenizer import special

OUTPUT = Path(__file__).parent / "src" / "runner" / "tables.json"


def tables() -> dict[str, object]:
    """The tables as JSON-ready data."""
    defaults = {field.name: field.default for field in fields(ModelConfig)}
    return {
        "schema": manifest.SCHEMA,
        "schemaVersion": manifest.SCHEMA_VERSION,
        "descriptorVersion": abi.DESCRIPTOR_VERSION,
        "fields": [
            {
                "name": name,
                "choices": CHOICES.get(name),
                "default": None if defaults[name] is MISSING else defaults[name],
            }
            for name in descriptor.FIELDS
        ],
        "sharedSlots": descriptor.SHARED_SLOTS,
        "layerSlots": descriptor.LAYER_SLOTS,
        "weightTypes": abi.TYPE_IDS,
        "errors": {
            str(code): {"name": kind.__name__, "sentence": sentence}
            for code, (kind, sentence) in abi.ERRORS.items()
        },
        "beginTokens": special.BEGIN_TOKENS,
        "endTokens": special.END_TOKENS,
        "notEnds": [
            {"others": others, "name": name} for others, name, _ in special.HIDDEN_FROM_END
        ],
    }


if __name__ == "__main__":
    OUTPUT.write_text(json.dumps(tables(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
