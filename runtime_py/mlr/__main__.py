"""`python -m mlr`: the same as the `mlr` command."""

from mlr.cli.main import main

raise SystemExit(main())
