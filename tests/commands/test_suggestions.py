"""What a user who types an option that does not exist is told."""

import pytest

from ptb_lm.config import option_groups

OPTIONS = [option for _, group in option_groups() for option in group]
CHOICES = [
    (option.name, choice)
    for option in OPTIONS
    for choice in option.metadata["choices"] or ()
]


@pytest.mark.parametrize(
    "typed, option",
    [
        ("--max_epochs=3", "max_max_epoch"),
        ("--epochs=3", "max_max_epoch"),
        ("--max_max_epochs=3", "max_max_epoch"),
        ("--max_epock=3", "max_epoch"),
        ("--lr=0.1", "learning_rate"),
        ("--learning-rate=0.1", "learning_rate"),
        ("--hiden_size=3", "hidden_size"),
        ("--num_layer=3", "num_layers"),
        ("--bptt=3", "num_steps"),
        ("--output_dir=x", "save_path"),
        ("--temprature=1", "temperature"),
        ("-seeds", "seed"),
        ("--modle=small", "model"),
        ("--mdoe=sample", "mode"),
    ],
)
def test_an_unknown_option(fails, typed, option):
    line = fails(typed)
    name = typed.lstrip("-").partition("=")[0]
    assert line.startswith(f"--{name}: unknown; did you mean --{option}? (")


def test_what_it_is_stands_beside_it(fails):
    assert fails("--max_epochs=3").endswith("? (Number of epochs in all.)")
    assert fails("--cel=gru").endswith("--cell? (Recurrent cell.)")


@pytest.mark.parametrize("name", ["zzzzzz", "generate", "workers", "config"])
def test_nothing_like_it(fails, name):
    line = fails(f"--{name}=1")
    assert line == f"--{name}: unknown; --helpfull lists all options"


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("--evaluate", "--mode=evaluate"),
        ("--train", "--mode=train"),
        ("--gru", "--cell=gru"),
        ("--adam", "--optimizer=adam"),
        ("--json", "--format=json"),
        ("--small", "--model=small"),
    ],
)
def test_a_value_in_place_of_an_option(fails, typed, meant):
    assert fails(typed) == f"{typed}: unknown; did you mean {meant}?"


def test_a_word_that_is_no_flag(fails):
    assert fails("sample") == (
        "'sample' is not a flag; flags begin with --; did you mean --mode=sample?"
    )


@pytest.mark.parametrize("name, choice", CHOICES)
def test_a_misspelled_value(fails, name, choice):
    """The last letter typed twice."""
    typed = f"--{name}={choice}{choice[-1]}"
    assert fails(typed).startswith(f"{typed}: must be one of ")
    assert fails(typed).endswith(f"; did you mean {choice}?")


@pytest.mark.parametrize(
    "typed, meant", [("medum", "medium"), ("tset", "test"), ("samll", "small")]
)
def test_a_misspelled_preset(fails, typed, meant):
    assert fails(f"--model={typed}").endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    "typed, expected",
    [
        ("--tied=ture", "true or false"),
        ("--batch_size=abc", "a whole number"),
        ("--batch_size=2.5", "a whole number"),
        ("--keep_prob=half", "a number"),
    ],
)
def test_a_value_of_another_kind(fails, typed, expected):
    assert fails(typed) == f"{typed}: must be {expected}"


def test_a_value_for_what_takes_none(fails):
    assert fails("--notied=1") == "--notied=1 does not take an argument"


def test_names_of_other_programs_are_of_one_option():
    names = [name for option in OPTIONS for name in option.metadata["known_as"]]
    assert len(names) == len(set(names)) > 50
    assert not {option.name for option in OPTIONS} & set(names)
