"""The fenced code blocks of the documentation, with the output that each claims."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `output` is the `text` block that follows it directly, if one does."""

    path: Path
    line: int
    language: str
    code: str
    output: str | None

    @property
    def name(self) -> str:
        """Where it is, for a test's name."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Every fenced block of a Markdown file, in order."""
    text = path.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    blocks = []
    for at, fence in enumerate(fences):
        output = None
        if fence[1] != "text" and at + 1 < len(fences):
            following = fences[at + 1]
            if following[1] == "text" and not text[fence.end() : following.start()].strip():
                output = following[2]
        line = text.count("\n", 0, fence.start()) + 1
        blocks.append(Block(path, line, fence[1], fence[2], output))
    return blocks


def documents() -> list[Path]:
    """The repository's Markdown files."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a `console` block, each with the output that is shown under it."""
    found: list[tuple[str, str]] = []
    for line in block.code.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            command, _ = found.pop()
            found.append((command[:-1] + line.strip(), ""))
        else:
            assert found, f"{block.name}: output before the first command"
            command, output = found.pop()
            found.append((command, output + line + "\n"))
    return found
