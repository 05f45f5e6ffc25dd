"""Code that tests share: models small enough to make on the spot."""
