"""The colours of surprisal: one hue, whose lightness tells the order.

So the order is seen whatever colours an eye tells apart. The contrast of the letters on
every colour is at least 4.5, as WCAG 2.1 asks for (success criterion 1.4.3).
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of the scale.

    Attributes:
      bits: surprisal at which it ends; the next one begins there.
      light: its colour and that of the letters on it, on a light page.
      dark: the same on a dark page.
    """

    bits: float
    light: tuple[str, str]
    dark: tuple[str, str]


STEPS = (
    Step(1, ("#ffffff", "#1c1f23"), ("#18181b", "#e9e6e1")),
    Step(2, ("#fff3d1", "#1c1f23"), ("#30270f", "#f1ede6")),
    Step(4, ("#fee09c", "#1c1f23"), ("#4d390c", "#f7f3ec")),
    Step(6, ("#fdc15f", "#1c1f23"), ("#6e4e08", "#fffdf8")),
    Step(9, ("#f29a3c", "#1c1f23"), ("#b97a12", "#0e0f12")),
    Step(12, ("#d8702a", "#101214"), ("#e9a93a", "#0e0f12")),
    Step(math.inf, ("#8a2f0a", "#ffffff"), ("#ffe3a6", "#0e0f12")),
)


def step_of(bits: float) -> int:
    """Index of the step for a surprisal in bits."""
    return next(
        (index for index, step in enumerate(STEPS) if bits < step.bits), len(STEPS) - 1
    )


def style_sheet() -> str:
    """CSS rules of the steps: the classes s0, s1 and so on."""
    rules = []
    for mode, prefix in (("light", ""), ("dark", ".dark ")):
        for index, step in enumerate(STEPS):
            colour, letters = getattr(step, mode)
            rules.append(
                f"{prefix}.pg .s{index} {{ background: {colour}; color: {letters}; }}"
            )
    return "\n".join(rules)


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", from 0 to 1 (WCAG 2.1)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.1)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
