"""Writing a GGUF file again with gguf's own writer."""

from __future__ import annotations

import gguf

__all__ = ["add_metadata"]


def add_metadata(writer: gguf.GGUFWriter, reader: gguf.GGUFReader) -> None:
    """Add a file's metadata but the architecture, which a writer is made with."""
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = field.types[0]
            sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), kind, sub_type=sub_type)
