"""The page that --help shows."""

import dataclasses
import textwrap

from ptb_lm.config import Config, option_groups
from ptb_lm.options import format_value, help_text
from ptb_lm.registry import MODES
from ptb_lm.runs.presets import presets, summary
from ptb_lm.system import program

WIDTH = 79
COLUMN = 24  # where descriptions begin


def help_page(complete: bool, mode: str | None = None) -> str:
    """The options with their defaults, by group, and the presets.

    Args:
      complete: whether to list all options, or those used most.
      mode: list only what this mode reads; None: what any of them reads.
    """
    lines = ["Trains and evaluates LSTM language models. See README.md.", ""]
    examples = {
        program.command(): "the built-in corpus",
        program.command(model="small", data_path="FOLDER"): "the Penn Treebank",
    }
    widest = max(map(len, examples))
    lines += [f"{typed:{widest}}   {what}" for typed, what in examples.items()]
    read = Config().values().keys() if mode is None else MODES[mode].options
    for heading, options in option_groups():
        shown = [
            _described(option)
            for option in options
            if option.name in read and (complete or option.metadata["common"])
        ]
        if shown:
            lines += ["", heading, *shown]
    if "model" in read:
        lines += ["", "Presets, for --model."]
        lines += [_entry(f"  {n}", summary(path)) for n, path in presets().items()]
    lines += [
        "",
        "Each value above is the default. A preset (small, if you name none) sets some",
        "options to other values. Options from a file: --flagfile=FILE.",
    ]
    if mode is None:
        pages = "--helpfull" if complete else "--help, or --helpfull"
        lines += [f"The options of one mode: --mode=MODE {pages}."]
    if not complete:
        which = "All options" if mode is None else f"All options of --mode={mode}"
        typed = "--helpfull" if mode is None else f"--mode={mode} --helpfull"
        lines += [f"{which}: {typed}."]
    return "\n".join(lines)


def _described(option: dataclasses.Field) -> str:
    """An option, its default and its help."""
    name = f"  --{option.name}={format_value(option.default)}"
    return _entry(name, help_text(option))


def _entry(name: str, text: str) -> str:
    """A name, and its description beside or below it."""
    indent = " " * COLUMN
    wrapped = textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    if len(name) >= COLUMN:
        return f"{name}\n{wrapped}"
    return name.ljust(COLUMN) + wrapped[COLUMN:]
