"""`mlr-build site`: make a static site that runs bundles in the browser."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mlr_build.progress import human_bytes, open_progress
from mlr_build.site import SITE, make_site
from mlr_build.staging import check_output

__all__ = ["configure", "execute"]

HELP = "make a static site that runs bundles in the browser"
EPILOG = """\
The site works from any file host, under any path, over https or on localhost. It needs no
headers: a service worker adds them, which takes one reload on the first visit. After a model has
been loaded once, the site works offline.

examples:
  mlr-build site bundles/gemma-3-270m --out site
  python -m http.server --directory site 8000
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", type=Path, help="a bundle's folder")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the site goes"
    )
    parser.add_argument("--force", action="store_true", help="replace the site that is at DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_output(args.out, args.force, SITE)
    result = make_site(args.bundles, args.out, open_progress(), force=args.force)
    if args.json:
        report = {
            "path": str(result.path),
            "bundles": list(result.bundles),
            "size": result.size,
            "first_visit": result.first_visit,
            "largest_file": result.largest_file,
        }
        print(json.dumps(report, ensure_ascii=False))
        return 0
    print(
        f"{result.path}: {', '.join(result.bundles)}, {human_bytes(result.size)}; a first visit "
        f"downloads {human_bytes(result.first_visit)} before the weights; the largest file has "
        f"{human_bytes(result.largest_file)}"
    )
    return 0
