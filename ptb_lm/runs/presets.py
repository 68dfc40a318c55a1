"""The presets: the flagfiles that --model names.

The head of one is a comment: what it is, its source, and what was published for it.
"""

import dataclasses
import pathlib
import re

import ptb_lm
from ptb_lm.config import Config
from ptb_lm.errors import UserError
from ptb_lm.options import closest
from ptb_lm.system import files

_PACKAGE = pathlib.Path(ptb_lm.__file__).parent
# In a checkout they are beside the package; when installed, inside it, for the folder
# beside it is then everybody's.
_INSTALLED = _PACKAGE / "flags"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "flags"

_PUBLISHED = re.compile(
    r"(?m)^# Published: (?:train (?P<train>[0-9.]+), )?(?:valid (?P<valid>[0-9.]+), )?"
    r"test (?P<test>[0-9.]+)\.$"
)


@dataclasses.dataclass(frozen=True)
class Published:
    """Perplexities that were published for a preset, of the Penn Treebank's words.

    Attributes:
      train: None where there is none.
      valid: likewise.
      test: of the test text.
    """

    train: float | None
    valid: float | None
    test: float


def presets() -> dict[str, pathlib.Path]:
    """Name -> flagfile, by name; UserError where their folder cannot be read."""
    try:
        return {path.stem: path for path in sorted(_FOLDER.glob("*.flags"))}
    except OSError as error:
        raise UserError(f"{_FOLDER}: cannot read: {error.strerror}") from error


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


def preset_config(name: str) -> Config:
    """The configuration that a preset asks for.

    Raises:
      UserError: there is no such preset, or it cannot be read.
    """
    path = preset_file(name)
    lines = files.read_text(path).splitlines()
    options = [line for line in lines if line.startswith("--")]
    return Config.from_text("\n".join([f"--model={name}", *options]), str(path))


def published(name: str) -> Published | None:
    """What the head of a preset says was published; None: nothing.

    Raises:
      UserError: there is no such preset, or it cannot be read.
    """
    found = _PUBLISHED.search(files.read_text(preset_file(name)))
    if found is None:
        return None
    train, valid, test = (
        None if found[part] is None else float(found[part])
        for part in ("train", "valid", "test")
    )
    assert test is not None  # the pattern asks for it
    return Published(train, valid, test)
