"""Write a bundle's shards as the GGUF file that they are the pieces of, checked by its SHA-256.

Usage: python tests/join_shards.py BUNDLE OUTPUT
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main(bundle: Path, output: Path) -> None:
    """Join the shards of the bundle's first variant; a wrong hash leaves no file."""
    variant = json.loads((bundle / "manifest.json").read_bytes())["variants"][0]
    digest = hashlib.sha256()
    partial = output.with_suffix(".part")
    with partial.open("wb") as file:
        for shard in variant["shards"]:
            data = (bundle / shard["file"]).read_bytes()
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != variant["sha256"]:
        partial.unlink()
        raise SystemExit(f"{bundle}: the shards do not have the SHA-256 {variant['sha256']}")
    partial.replace(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
