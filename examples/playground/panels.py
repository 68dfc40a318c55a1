"""What the runs say of a text, as HTML."""

import html
import json
import math
from collections.abc import Sequence

from playground.colours import STEPS, step_of
from playground.view import Place, Player, View
from ptb_lm.data.token_rules import TokenRules
from ptb_lm.evaluation.metrics import Score

# Gradio fills templates in what it shows; to these, a text has no template.
_TEMPLATE_SIGNS = str.maketrans({sign: f"&#{ord(sign)};" for sign in "{}$`\\"})


def escape(text: str) -> str:
    """A text as HTML shows it, in an attribute too."""
    return html.escape(text).translate(_TEMPLATE_SIGNS)


def percent(probability: float) -> str:
    """A probability in percent, as text, with a digit that tells something."""
    share = 100 * probability
    if share < 0.001:
        return "< 0.001 %"
    digits = next(n for n, least in enumerate((99.995, 0.1, 0.01, 0)) if share >= least)
    return f"{min(share, 99.9) if digits else 100:.{digits}f} %"


def label(token: str, rules: TokenRules) -> str:
    """The name of a token in a list, as text."""
    if token == rules.line_end:
        return "⏎ line end"
    return "␣ space" if token == " " else token


def heading() -> str:
    """The head of the page."""
    return (
        '<div class="pg heading"><h1>How surprised is the model?</h1><p>The stronger'
        " the colour of a word, the less the model expected it. Point at a word to see"
        " what it expected instead.</p></div>"
    )


def legend() -> str:
    """The colours with their numbers."""
    cells, low = [], 0.0
    for index, step in enumerate(STEPS):
        is_last = math.isinf(step.bits)
        bits = f"{low:g} +" if is_last else f"{low:g} to {step.bits:g}"
        percentage = 100 * 2 ** -(low if is_last else step.bits)
        least = f"{percentage:.{2 if percentage > 1 else 1}g} %"
        share = f"&lt; {least}" if is_last else f"&ge; {least}"
        cells.append(f'<li><i class="s{index}">{bits}</i><b>{share}</b></li>')
        low = step.bits
    return (
        '<div class="pg legend"><p>Surprisal in bits, and the'
        f" probability that it stands for</p><ol>{''.join(cells)}</ol>"
        '<p class="keys"><span class="written">written by a model</span>'
        '<span class="unknown">not in the vocabulary</span>'
        '<span class="unfinished">not finished</span></p></div>'
    )


def panels(players: Sequence[Player], views: Sequence[View]) -> str:
    """The runs side by side."""
    parts = [
        _panel(index, player, view)
        for index, (player, view) in enumerate(zip(players, views, strict=True))
    ]
    return f'<div class="pg panels">{"".join(parts)}</div>'


def _panel(index: int, player: Player, view: View) -> str:
    """One run: its name, its numbers, the text, the next tokens."""
    return (
        f'<section aria-label="{escape(player.name)}">'
        f"<header><h2>{escape(player.name)}</h2><p>{escape(facts(player))}</p></header>"
        f'<div class="columns"><div>{_numbers(player, view.score)}'
        f"{_text(player, view)}</div><div>{_choices(index, player, view)}</div></div>"
        "</section>"
    )


def facts(player: Player) -> str:
    """A run in one line."""
    run = player.run
    parts = [f"{len(run.vocabulary):,} {player.noun}s"]
    if run.results is not None:
        results = run.results
        parts.append(f"{results.parameters:,} parameters")
        scores = results.best_weights if run.kind == "best" else results.last_weights
        if scores and scores.test_perplexity:
            parts.append(f"test perplexity {scores.test_perplexity:.2f}")
    return " · ".join(parts)


def _numbers(player: Player, score: Score) -> str:
    """Perplexity and bits of the text, and what they mean."""
    floor = player.run.results and player.run.results.floor_perplexity
    counted = score.tokens > 0
    bits = score.nats / math.log(2)
    numbers = {
        "perplexity": f"{score.perplexity:,.2f}" if counted else "-",
        f"bits a {player.noun}": f"{score.bits_per_token:.2f}" if counted else "-",
        "bits in all": f"{bits:,.1f}" if counted else "-",
    }
    if floor:
        numbers["floor of this corpus"] = f"{floor:.2f}"
    cells = "".join(
        f"<div><dd>{value}</dd><dt>{name}</dt></div>" for name, value in numbers.items()
    )
    return f"<dl>{cells}</dl><p class='meaning'>{meaning(player, score, floor)}</p>"


def meaning(player: Player, score: Score, floor: float | None) -> str:
    """What the perplexity of a text says, in a sentence or two."""
    if not score.tokens:
        said = "Type a text: each word gets the colour of its surprisal."
    else:
        choices = (
            f"{score.perplexity:,.0f}"
            if score.perplexity >= 9.95
            else (f"{score.perplexity:.1f}")
        )
        said = (
            f"As unsure of each {player.noun} as if it chose among {choices} equally"
            " likely ones."
        )
    if not floor:
        return said
    if not score.tokens or score.perplexity >= floor:
        return (
            f"{said} On long texts of this corpus no model gets below {floor:.2f}, the"
            " floor."
        )
    return (
        f"{said} The floor, {floor:.2f}, holds on average over long texts; this one is"
        " easier."
    )


def _text(player: Player, view: View) -> str:
    """The text, each token in the colour of its surprisal."""
    rules = player.rules
    pieces, gap = [], ""
    for number, place in enumerate(view.places):
        is_line_end = place.token == rules.line_end
        pieces.append("" if is_line_end and rules.separator else gap)
        pieces.append(_token(place, player, is_first=number == 0))
        pieces.append("<br>" if is_line_end else "")
        gap = "" if is_line_end else rules.separator
    if view.unfinished:
        pieces.append(f'{gap}<span class="unfinished">{escape(view.unfinished)}</span>')
    kind = "words" if player.noun == "word" else "characters"
    if not pieces:
        pieces = ['<span class="empty">The text appears here.</span>']
    return (
        f'<div class="text {kind}" role="group" aria-label="the text; arrow keys go'
        f' from {player.noun} to {player.noun}">{"".join(pieces)}</div>'
    )


def _token(place: Place, player: Player, is_first: bool) -> str:
    """One token of the text, with what its tooltip says."""
    token = place.token
    shown = "⏎" if token == player.rules.line_end else escape(token)
    classes, data = ["token"], {"token": label(token, player.rules)}
    if not place.is_known:
        classes.append("unknown")
        data["note"] = "read as <unk>" if place.is_read else "unknown, left out"
    if place.is_written:
        classes.append("written")
    if place.nats is not None:
        bits = place.nats / math.log(2)
        classes.append(f"s{step_of(bits)}")
        data["p"] = percent(math.exp(-place.nats))
        data["bits"] = f"{bits:.1f}"
        data["expected"] = [
            [label(name, player.rules), percent(p), name == token]
            for name, p in place.expected
        ]
    elif place.is_read:
        data["note"] = "the first: nothing comes before it"
    told = escape(json.dumps(data, ensure_ascii=False))
    tab = 0 if is_first else -1
    return (
        f'<span class="{" ".join(classes)}" tabindex="{tab}" data-told="{told}">'
        f"{shown}</span>"
    )


def _choices(index: int, player: Player, view: View) -> str:
    """The next tokens as bars to choose from."""
    heading = f"Next {player.noun}"
    if view.unfinished:
        heading = f"{player.noun.title()}s that begin with “{escape(view.unfinished)}”"
    widest = max((probability for _, probability in view.choices), default=1.0)
    bars = "".join(
        f'<li><button type="button" data-run="{index}" data-token="{escape(token)}">'
        f"<span>{escape(label(token, player.rules))}</span>"
        f'<i><i style="width:{100 * probability / widest:.1f}%"></i></i>'
        f"<b>{escape(percent(probability))}</b></button></li>"
        for token, probability in view.choices
    )
    return f"<h3>{heading}</h3><ol class='choices'>{bars}</ol>"
