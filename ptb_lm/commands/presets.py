"""The presets: the flagfiles that --model names."""

import pathlib

import ptb_lm
from ptb_lm.errors import UserError
from ptb_lm.options import closest

_PACKAGE = pathlib.Path(ptb_lm.__file__).parent
# In a checkout they are beside the package; when installed, inside it, for the folder
# beside it is then everybody's.
_INSTALLED = _PACKAGE / "flags"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "flags"


def presets() -> dict[str, pathlib.Path]:
    """Name -> flagfile, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.flags"))}


def preset_file(name: str) -> pathlib.Path:
    """The flagfile of a preset; UserError where there is none of that name."""
    known = presets()
    if name not in known:
        meant = closest(name, known)
        raise UserError(
            f"--model={name}: unknown; the presets are {', '.join(known)}"
            + (f"; did you mean {meant}?" if meant else "")
        )
    return known[name]


def summary(preset: pathlib.Path) -> str:
    """The first sentence of the comment at the head of a preset."""
    lines = preset.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line[1:].strip() for line in lines if line.startswith("#"))
    return comment.partition(". ")[0].removesuffix(".") + "."
