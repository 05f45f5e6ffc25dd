"""A clock that engines move on: what passes take, without measuring anything."""

from __future__ import annotations

from collections.abc import Sequence

from mlr.engines.base import Engine, Step
from mlr.model import Model

__all__ = ["Meter", "metered"]


class Meter:
    """Seconds as they pass by: `first` for a pass, and `each` for every token in it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def watch(self, engine: Engine, first: float, each: float) -> list[list[Step]]:
        """Have the engine's passes take that long; they are recorded in what is returned."""
        passes: list[list[Step]] = []
        evaluate = engine.evaluate_batch

        def record(steps: Sequence[Step]) -> None:
            evaluate(steps)
            passes.append(list(steps))
            self.seconds += first + each * sum(len(step.tokens) for step in steps)

        engine.evaluate_batch = record  # type: ignore[method-assign]
        return passes


def metered(
    model: Model, *, draft: float = 0.1, each: float = 0.1
) -> tuple[Meter, list[list[Step]], list[list[Step]]]:
    """The clock, the passes of a model, which take 1 second and `each` for every token, and those
    of its draft, which take `draft` of that."""
    meter = Meter()
    model._scheduler._clock = meter
    passes = meter.watch(model.engine, 1.0, each)
    if model._draft is None:
        return meter, passes, []
    model._draft.clock = meter
    return meter, passes, meter.watch(model._draft.engine, draft, draft * each)
