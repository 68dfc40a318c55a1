"""A profile of chosen training steps, for TensorBoard's Profile page."""

import contextlib
import pathlib
import re

import tensorflow as tf

from ptb_lm.errors import UserError
from ptb_lm.tensorboard.observer import Observer


def profiled_steps(option: str) -> tuple[int, int]:
    """Reads --profile_steps.

    Args:
      option: "FIRST,LAST", two steps counted from 1.

    Returns:
      Steps taken when the profile begins, and when it ends.

    Raises:
      UserError: that is not what `option` is.
    """
    parts = re.fullmatch("([0-9]{1,18}),([0-9]{1,18})", option)
    first, last = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= first <= last:
        raise UserError(
            f"--profile_steps={option}: must be FIRST,LAST, two steps counted from 1"
        )
    return first - 1, last


class Profile(Observer):
    """Records what TensorFlow does from one step to another, once.

    Meanwhile a call of the compiled loop takes one step, and each is marked with its
    number for the Trace Viewer. (xprof's Overview ignores marks where a graph has a
    loop.)
    """

    def __init__(self, steps: tuple[int, int], folder: pathlib.Path, step: int):
        """Begins to record where it is time to.

        Args:
          steps: from `profiled_steps`.
          folder: of the run.
          step: training steps taken.
        """
        self._bounds, self._folder = steps, folder
        self._mark: contextlib.ExitStack | None = None
        self.after_steps(step)

    def steps_to_next(self, step: int) -> int | None:
        """Steps until the beginning; one, while it records."""
        first, last = self._bounds
        if step < first:
            return first - step
        return 1 if step < last else None

    def after_steps(self, step: int) -> None:
        """Begins or ends the recording where it is time to, and marks the steps."""
        if step == self._bounds[0]:
            options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2)
            tf.profiler.experimental.start(str(self._folder), options)
            self._mark = contextlib.ExitStack()
        if self._mark is None:
            return
        self._mark.close()
        if step < self._bounds[1]:
            trace = tf.profiler.experimental.Trace("train", step_num=step + 1, _r=1)
            self._mark.enter_context(trace)
        else:
            self.close()

    def close(self) -> None:
        """Writes what was recorded."""
        if self._mark is not None:
            self._mark.close()
            self._mark = None
            tf.profiler.experimental.stop()
