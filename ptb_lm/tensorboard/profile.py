"""A profile of chosen training steps, for TensorBoard's Profile page."""

import pathlib
import re

import tensorflow as tf

from ptb_lm.errors import UserError


class Profile:
    """Records what TensorFlow does from one step to another, once."""

    def __init__(self, steps: str, folder: pathlib.Path):
        """Reads --profile_steps.

        Args:
          steps: "FIRST,LAST", counted from 1; empty: none are profiled.
          folder: of the run.

        Raises:
          UserError: that is not what `steps` is.
        """
        self._folder, self._running = folder, False
        self._bounds = ()
        if steps:
            parts = re.fullmatch("([0-9]{1,18}),([0-9]{1,18})", steps)
            first, last = map(int, parts.groups()) if parts else (0, 0)
            if not 1 <= first <= last:
                raise UserError(
                    f"--profile_steps={steps}: must be FIRST,LAST, two steps counted"
                    " from 1"
                )
            self._bounds = first - 1, last

    def steps_to_next(self, step: int) -> list[int]:
        """Steps until the beginning and the end, as far as they are to come."""
        return [bound - step for bound in self._bounds if bound > step]

    def at(self, step: int) -> None:
        """Begins or ends the recording where it is time to."""
        if not self._bounds:
            return
        if step == self._bounds[0]:
            options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2)
            tf.profiler.experimental.start(str(self._folder), options)
            self._running = True
        elif step >= self._bounds[1]:
            self.stop()

    def stop(self) -> None:
        """Writes what was recorded."""
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
