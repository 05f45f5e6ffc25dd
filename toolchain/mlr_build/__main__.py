"""`python -m mlr_build`: the same as the `mlr-build` command."""

import sys

from mlr_build.cli import main

if __name__ == "__main__":
    sys.exit(main())
