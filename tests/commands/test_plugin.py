"""--plugin: code of the user that registers members."""

import sys

import pytest

import run_ptb
from ptb_lm import registry
from ptb_lm.config import Config
from ptb_lm.registry import LOADED_PLUGINS, SCHEDULES
from ptb_lm.runs.folder import RunFolder
from tests.support.files import write_corpus

CODE = """
import numpy as np

from ptb_lm.registry import SCHEDULES
from ptb_lm.training.schedules import Schedule


class SquareRoot(Schedule):
    def rates(self, first, count, history):
        return self.config.learning_rate / np.sqrt(first.step + 1 + np.arange(count))


SCHEDULES.register("square_root", SquareRoot, "falls as 1 / sqrt(step)")
"""


@pytest.fixture
def plugin(tmp_path):
    """A file that registers a schedule, forgotten at the end."""
    path = tmp_path / "my plugin.py"
    path.write_text(CODE)
    yield path
    forget()


def forget():
    """Makes this process one that has loaded no plugin."""
    LOADED_PLUGINS.clear()
    if "square_root" in SCHEDULES:
        SCHEDULES.unregister("square_root")


def write_run(path, plugin):
    """A run that was started with the plugin, and its flags.txt alone."""
    config = run_ptb.parse([f"--plugin={plugin}", "--schedule=square_root"])
    path.mkdir()
    (path / "flags.txt").write_text(config.to_text())
    forget()


def test_a_member_of_a_plugin_is_chosen_and_listed(plugin, capsys):
    config = run_ptb.parse([f"--plugin={plugin}", "--schedule=square_root"])
    assert config.training.schedule == "square_root"
    assert run_ptb.main([f"--plugin={plugin}", "--helpfull"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "square_root (falls as 1 / sqrt(step))" in page


def test_a_module_that_python_can_import(plugin, monkeypatch):
    plugin.rename(plugin.with_name("my_plugin.py"))
    monkeypatch.syspath_prepend(plugin.parent)
    config = run_ptb.parse(["--plugin=my_plugin", "--schedule=square_root"])
    assert config.run.plugin == "my_plugin"
    sys.modules.pop("my_plugin")


def test_a_process_runs_it_once(plugin):
    for _ in range(2):  # else there would be a schedule of that name already
        run_ptb.parse([f"--plugin={plugin}", "--schedule=square_root"])


def test_a_run_records_it_and_an_error_names_it(plugin, tmp_path, fails):
    path = tmp_path / "run"
    write_run(path, plugin)
    for typed in (["--mode=evaluate"], ["--mode=export"], []):
        line = fails(f"--save_path={path}", *typed)
        assert line.startswith(f"{path}/flags.txt: --schedule=square_root: must be one")
        assert line.endswith(
            f"; the run was started with --plugin={plugin}: type that option too"
        )
    run_ptb.parse([f"--plugin={plugin}", f"--save_path={path}"], resume=True)
    assert RunFolder(path).config().training.schedule == "square_root"


@pytest.mark.parametrize("place", ["flags.txt", "my.flags"])
def test_no_file_has_code_run(plugin, tmp_path, fails, place):
    """Whoever writes a flagfile could have any code run."""
    write_run(tmp_path / "run", plugin)
    flagfile = tmp_path / "run" / place
    if place == "my.flags":
        flagfile.write_text(f"--plugin={plugin}\n")
    assert fails(f"--flagfile={flagfile}", "--save_path=x") == (
        f"--plugin={plugin}: a flagfile names it, and the program runs only a plugin"
        " that is typed; type it too, if you trust it"
    )
    assert "square_root" not in SCHEDULES
    assert run_ptb.parse([f"--flagfile={flagfile}", f"--plugin={plugin}"])


def test_another_place_of_it_does_not_make_another_run(plugin, tmp_path):
    write_run(tmp_path / "run", plugin)
    moved = plugin.rename(tmp_path / "moved.py")
    config = run_ptb.parse([f"--plugin={moved}", f"--save_path={tmp_path}/run"], True)
    assert config.run_values() == RunFolder(tmp_path / "run").config().run_values()


def test_no_such_file(fails):
    assert fails("--plugin=none.py") == "--plugin=none.py: no such file"


def test_no_such_module(capsys):
    assert run_ptb.main(["--plugin=no.such.module"]) == 2
    assert capsys.readouterr().err == (
        "run_ptb.py: --plugin=no.such.module: ModuleNotFoundError: No module named"
        " 'no'\n"
    )


@pytest.mark.parametrize(
    "code, said",
    [
        ("x = 1\ny = z\n", "line 2: NameError: name 'z' is not defined"),
        ("x = 1\n\ny = (\n", "line 3: SyntaxError: '(' was never closed"),
        (
            "from ptb_lm.registry import CELLS\nCELLS.register('lstm', 1)\n",
            "line 2: ValueError: there is a cell 'lstm' already",
        ),
    ],
)
def test_code_that_fails(tmp_path, capsys, code, said):
    path = tmp_path / "bad.py"
    path.write_text(code)
    assert run_ptb.main([f"--plugin={path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"run_ptb.py: --plugin={path}: {path}, {said}")
    assert not registry.LOADED_PLUGINS


def test_it_does_not_define_the_run():
    assert "plugin" not in Config().run_values()


@pytest.mark.slow
def test_a_training_with_it(plugin, tmp_path, capsys):
    """From the first step to evaluating, with the commands that it prints."""
    corpus = write_corpus(tmp_path / "corpus")
    run = ["--model=test", f"--data_path={corpus}", f"--save_path={tmp_path}/my run"]
    options = ["--schedule=square_root", "--sample_tokens=0", "--max_max_epoch=2"]
    assert run_ptb.main([*run, *options, f"--plugin={plugin}"]) == 0
    captured = capsys.readouterr()
    assert f"--mode=sample --save_path='{tmp_path}/my run' --plugin='{plugin}'" in (
        captured.out
    )
    first, second = RunFolder(tmp_path / "my run").read_results().epochs
    assert second.learning_rate < first.learning_rate < 1
    evaluate = ["--mode=evaluate", f"--save_path={tmp_path}/my run", "--split=valid"]
    assert run_ptb.main([*evaluate, f"--plugin={plugin}"]) == 0
