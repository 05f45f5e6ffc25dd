"""What the playground needs of whoever serves it: `mlr serve` or the host of a static site."""
