"""How many steps one call of the compiled loop takes."""

CALL_SECONDS = 0.5  # a call lasts about this long
MAX_STEPS_PER_CALL = 100


def steps_a_call(count: int, seconds: float) -> int:
    """How many steps the next call may take, by the time that the last one took.

    Args:
      count: steps of the last call.
      seconds: that it took.
    """
    return min(max(round(CALL_SECONDS * count / seconds), 1), MAX_STEPS_PER_CALL)


def is_due(step: int, interval: int) -> bool:
    """Whether a step is a multiple of an interval; 0 stands for no interval."""
    return interval > 0 and step % interval == 0


def steps_to_next(step: int, interval: int) -> int:
    """Steps until the next multiple of an interval; 0 stands for no interval."""
    return interval - step % interval if interval else MAX_STEPS_PER_CALL
