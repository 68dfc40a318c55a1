"""--help, -h, --version."""

import pathlib
import re

import pytest

import ptb_lm
import run_ptb
from ptb_lm.config import option_groups
from ptb_lm.registry import CELLS, MODES
from ptb_lm.runs.presets import presets, summary

ROOT = pathlib.Path(run_ptb.__file__).parent
OPTIONS = [option for _, group in option_groups() for option in group]


@pytest.fixture
def shown(capsys):
    """Runs the command line; returns what it prints."""

    def run(*arguments):
        assert run_ptb.main(arguments) == 0
        return capsys.readouterr().out

    return run


def listed(page):
    """The options that a page of help lists."""
    return set(re.findall(r"(?m)^  --(\w+)=", page))


def test_short_form(shown):
    assert shown("-h") == shown("--help")


def test_version(shown):
    assert shown("--version") == f"ptb_lm {ptb_lm.__version__}\n"


def test_the_version_is_the_first_of_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    number, unreleased = re.search(
        r"(?m)^## ([\d.]+)(, unreleased)?$", changelog
    ).groups()
    assert ptb_lm.__version__ == number + (".dev0" if unreleased else "")
    assert f"read by {number} |" in changelog
    assert ("`ptb_lm.__version__` says" in changelog) == bool(unreleased)


@pytest.mark.parametrize("page", ["--help", "--helpfull"])
def test_presets_are_listed(shown, page):
    text = shown(page)
    for name, path in presets().items():
        described = summary(path)
        assert re.search(rf"(?m)^  {name} +{re.escape(described)}$", text), name
        head = path.read_text().replace("\n# ", " ")
        assert head.startswith(f"# {described}")


@pytest.mark.parametrize("mode", list(MODES))
def test_the_options_of_a_mode(shown, mode):
    assert listed(shown(f"--mode={mode}", "--helpfull")) == MODES[mode].options
    common = {option.name for option in OPTIONS if option.metadata["common"]}
    page = shown(f"--mode={mode}", "-h")
    assert listed(page) == MODES[mode].options & common
    assert ("Presets, for --model." in page) == ("model" in MODES[mode].options)


def test_members_of_now_are_listed(shown):
    CELLS.register("mine", object(), "of my own")
    try:
        assert "mine (of my own)" in " ".join(shown("--help").split())
    finally:
        CELLS.unregister("mine")


def test_help_comes_before_mistakes(shown):
    """Of a user who looks for what is right."""
    assert shown("--model=nowhere", "--batch_size=-1", "--help")


def test_one_word_for_one_thing():
    """The split valid is not the validation text elsewhere."""
    for option in OPTIONS:
        assert "validation" not in option.metadata["help"], option.name
    for kind in (MODES, CELLS, run_ptb.MODES):
        assert "validation" not in kind.listed()
