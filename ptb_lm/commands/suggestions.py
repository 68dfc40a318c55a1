"""What a user may have meant by an option that does not exist."""

import re

from ptb_lm.config import option_groups
from ptb_lm.options import closest
from ptb_lm.runs.presets import presets


def suggestion(word: str) -> str:
    """What ends an error message about an option that does not exist.

    Args:
      word: what was typed, without dashes and value: a misspelled option, a name of it
        in another program, or a value that an option takes.

    Returns:
      "; did you mean --OPTION? (What it is.)", or where all options are listed.
    """
    word = word.replace("-", "_")
    options = {option.name: option for _, group in option_groups() for option in group}
    names = {name: name for name in options}
    names |= {w: o.name for o in options.values() for w in o.metadata["known_as"]}
    choices = {
        choice: f"--{option.name}={choice}"
        for option in reversed(options.values())  # of two options, the first
        for choice in option.metadata["choices"] or ()
    }
    choices = {preset: f"--model={preset}" for preset in presets()} | choices
    if word not in names and word in choices:
        return f"; did you mean {choices[word]}?"
    meant = closest(word, names, likeness=0.75)
    if not meant:
        return "; --helpfull lists all options"
    option = options[names[meant]]
    what = re.split("[.:;] |[.]$", option.metadata["help"])[0]
    return f"; did you mean --{option.name}? ({what}.)"
