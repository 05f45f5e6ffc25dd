"""The commands of `mlr-build`, one module each: `configure` adds arguments, `execute` runs."""
