"""Fuzzers: random damage to what comes from outside, and random models.

`python -m tests.fuzz --seconds 600`.

A short run of each is part of the tests. A finding names the seed and the round, and
`--seed S --round N` repeats it.
"""
