"""The page: Gradio's components, and what happens when one is used."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr

from playground.colours import style_sheet
from playground.panels import escape, heading, legend, panels
from playground.table import Session, Table
from ptb_lm.config import GenerationConfig
from ptb_lm.errors import UserError

FOLDER = pathlib.Path(__file__).parent
MAX_CHARACTERS = 10_000
MAX_WRITTEN = 500
DEFAULTS = GenerationConfig()
PLAIN = {"apply_default_css": False}  # of HTML that has a style of its own
# As it is, because Gradio would put its own selectors before each of its `css`.
HEAD = f"<style>{(FOLDER / 'page.css').read_text()}\n{style_sheet()}</style>"
# The fonts of the system, so that no other machine is asked for one.
THEME = gr.themes.Base(
    primary_hue="blue",
    neutral_hue="zinc",
    font=("system-ui", "Segoe UI", "Roboto", "sans-serif"),
    font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
)


class Controls(NamedTuple):
    """The components that a person uses, or sees change."""

    session: gr.State
    text: gr.Textbox
    write: gr.Button
    undo: gr.Button
    run: gr.Radio
    settings: dict[str, gr.components.Component]
    message: gr.HTML
    shown: gr.HTML


def build(table: Table) -> gr.Blocks:
    """The page."""
    names = [player.name for player in table.players]
    with gr.Blocks(title="ptb_lm playground", analytics_enabled=False) as page:
        gr.HTML(heading(), **PLAIN)
        text = gr.Textbox(
            table.opening.draft.text,
            label="Text",
            placeholder="Type here, or choose one of the next tokens below",
            lines=3,
            max_lines=8,
            max_length=MAX_CHARACTERS,
            autofocus=True,
            elem_id="pg-text",
        )
        with gr.Row(elem_id="pg-actions"):
            write = gr.Button(
                "Continue the text", variant="primary", elem_id="pg-write"
            )
            undo = gr.Button("Undo", elem_id="pg-undo")
        with gr.Accordion("How it is continued", open=False, elem_id="pg-settings"):
            run, settings = _settings(names)
        message = gr.HTML(
            _line(table.message(table.opening)), elem_id="pg-message", **PLAIN
        )
        gr.HTML(legend(), **PLAIN)
        shown = gr.HTML(
            panels(table.players, table.opening.views),
            js_on_load=(FOLDER / "page.js").read_text(),
            elem_id="pg-panels",
            **PLAIN,
        )
        controls = Controls(
            gr.State(), text, write, undo, run, settings, message, shown
        )
        _connect(table, names, controls)
    return page


def _settings(
    names: Sequence[str],
) -> tuple[gr.Radio, dict[str, gr.components.Component]]:
    """How a text is continued: which run does it, and how it draws."""
    run = gr.Radio(
        list(names), value=names[0], label="Written by", visible=len(names) > 1
    )
    with gr.Row():
        settings = {
            "num_tokens": gr.Slider(
                1, MAX_WRITTEN, 40, step=1, label="Tokens", buttons=[]
            ),
            "temperature": gr.Slider(
                0, 2, DEFAULTS.temperature, step=0.05, label="Temperature", buttons=[]
            ),
            "top_p": gr.Slider(
                0.05, 1, DEFAULTS.top_p, step=0.05, label="Top-p", buttons=[]
            ),
        }
    with gr.Row():
        settings["top_k"] = gr.Number(
            DEFAULTS.num_likeliest, label="Top-k (0: all)", precision=0
        )
        settings["seed"] = gr.Number(1, label="Seed", precision=0)
    return run, settings


def _connect(table: Table, names: Sequence[str], controls: Controls) -> None:
    """What happens when a component is used."""

    def choose(session: Session, text: str, event: gr.EventData) -> list[Any]:
        return answer(table.chosen, session, text, int(event.run), str(event.token))

    def write(session: Session, text: str, run: str, *values: float) -> list[Any]:
        settings = dict(zip(controls.settings, values, strict=True))
        return answer(table.written, session, text, names.index(run), settings)

    def undo(session: Session, text: str) -> list[Any]:
        return answer(table.undone, session, text)

    def typed(session: Session, text: str) -> list[Any]:
        return answer(table.typed, session, text)[:-1]

    def answer(act: Callable[..., Session], session: Session, *done: Any) -> list[Any]:
        """What the page shows after an act; a mistake is one line of the page."""
        session = session or table.opening
        try:
            session = act(session, *done)
            message = table.message(session)
        except UserError as error:
            session, message = table.typed(session, done[0]), str(error)
        shown = panels(table.players, session.views)
        return [session, _line(message), shown, session.draft.text]

    inputs = [controls.session, controls.text]
    outputs = [controls.session, controls.message, controls.shown]
    # Answered at once, not in a queue: an answer takes less time than waiting in one.
    quick = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    controls.text.input(typed, inputs, outputs, trigger_mode="always_last", **quick)
    outputs = [*outputs, controls.text]
    controls.shown.choose(choose, inputs, outputs, **quick)
    controls.undo.click(undo, inputs, outputs, **quick)
    given = [*inputs, controls.run, *controls.settings.values()]
    controls.write.click(write, given, outputs, **quick)


def _line(message: str) -> str:
    """A message as the page shows it."""
    return (
        f'<p class="pg message" role="status">{escape(message)}</p>' if message else ""
    )
