# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws docs/architecture.svg: how a video becomes words. Numbers are those of configs/grid_smollm2.yaml.

python -m docs.draw_architecture docs/architecture.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1080, 640
# Fill and edge: what is computed once and stored, what is trained, what is frozen, what only carries numbers.
KINDS = {
    "fixed": ("#eef1f5", "#7a8699"),
    "trained": ("#e3f0e6", "#2f8f4e"),
    "frozen": ("#e4ecf8", "#3b6db5"),
    "data": ("#ffffff", "#7a8699"),
}


class Drawing:
    """Boxes, arrows and words, in the order in which they are drawn."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, kind: str, title: str, *lines: str) -> None:
        """A box with its title and smaller lines under it, centred."""
        fill, edge = KINDS[kind]
        dashes = ' stroke-dasharray="4 3"' if kind == "data" else ""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" fill="{fill}" stroke="{edge}" '
            f'stroke-width="1.5"{dashes}/>'
        )
        top = y + height / 2 - 8 * len(lines)
        self.text(x + width / 2, top + 5, title, size=14, weight="600")
        for index, line in enumerate(lines, start=1):
            self.text(x + width / 2, top + 5 + 16.5 * index, line, size=12, colour="#4a5568")

    def text(
        self, x: float, y: float, words: str, size: int = 12, colour: str = "#1f2733", weight: str = "400",
        anchor: str = "middle",
    ) -> None:  # fmt: skip
        """A line of words."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{escape(words)}</text>'
        )

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        """A line through points, with its head at the last."""
        path = "M" + " L".join(f"{x} {y}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="#44505f" stroke-width="1.6" marker-end="url(#head)"{dashes}/>'
        )

    def group(self, x: int, y: int, width: int, height: int, title: str) -> None:
        """A frame around several boxes."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="12" fill="none" stroke="#a3adba"/>'
        )
        self.text(x + 14, y + 22, title, size=13, colour="#5b6675", anchor="start")

    def svg(self) -> str:
        """The whole drawing."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif" role="img" '
            'aria-label="From video to words: landmarks, features, face encoder, resampler, adapters in a frozen '
            'language model">\n'
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#44505f"/></marker></defs>\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


def draw() -> str:
    """The drawing of the architecture, as SVG."""
    d = Drawing()
    # Once a clip, before any training.
    d.box(30, 40, 130, 70, "data", "video", "any size and rate")
    d.box(215, 40, 190, 70, "fixed", "MediaPipe", "FaceLandmarker; stored once")
    d.box(460, 40, 160, 70, "data", "raw landmarks", "(frames, 478, 3)")
    d.box(675, 40, 200, 70, "fixed", "feature extractor", "frontalised, rigid, 25 a second")
    d.box(930, 40, 120, 70, "data", "features", "(T, 79, 3)")
    for start, end in ((160, 215), (405, 460), (620, 675), (875, 930)):
        d.arrow((start, 75), (end, 75))
    # The face encoder.
    d.group(30, 150, 480, 462, "face encoder, trained")
    d.box(60, 190, 420, 46, "trained", "frame encoder (linear): positions and velocities", "(T, 79 x 6) to (T, 256)")
    d.box(60, 262, 420, 46, "trained", "convolution over 5 frames")
    d.box(
        60, 334, 420, 46, "trained", "4 Conformer layers", "attention that knows distances, convolution over 9 frames"
    )
    d.box(60, 414, 172, 60, "trained", "CTC head", "(T, characters)")
    d.box(308, 414, 172, 60, "trained", "alignment head", "(T, characters)")
    d.box(60, 546, 420, 46, "trained", "resampler (pool): 2 frames a token", "(T / 2, 256), in their order")
    d.arrow((990, 110), (990, 131), (270, 131), (270, 190))
    d.arrow((270, 236), (270, 262))
    d.arrow((270, 308), (270, 334))
    d.arrow((270, 380), (270, 498))
    d.arrow((146, 380), (146, 414))
    d.arrow((394, 380), (394, 414))
    d.arrow((146, 474), (146, 509), (258, 509))
    d.arrow((394, 474), (394, 509), (282, 509))
    d.parts.append('<circle cx="270" cy="509" r="11" fill="#ffffff" stroke="#44505f" stroke-width="1.5"/>')
    d.text(270, 514, "+", size=16)
    d.text(256, 533, "feedback: their output,", colour="#4a5568", anchor="end")
    d.text(284, 533, "embedded and added", colour="#4a5568", anchor="start")
    d.arrow((270, 520), (270, 546))
    # The language model.
    d.group(590, 150, 460, 462, "language model, frozen (SmolLM2-135M)")
    d.box(810, 546, 215, 46, "data", "start token, words so far")
    d.box(810, 484, 215, 36, "frozen", "embedding, layer 0")
    d.box(810, 420, 215, 36, "trained", "adapter 1")
    d.box(810, 368, 215, 36, "frozen", "layers 1 to 4")
    d.box(810, 304, 215, 36, "trained", "adapter 8")
    d.box(810, 252, 215, 36, "frozen", "layer 29, output layer")
    d.box(810, 186, 215, 38, "data", "next word's probabilities")
    for low, high in ((546, 520), (484, 456), (420, 404), (304, 288), (252, 224)):
        d.arrow((917, low), (917, high))
    d.parts.append('<path d="M917 368 V340" stroke="#44505f" stroke-width="2" stroke-dasharray="2 5"/>')
    d.arrow((1025, 205), (1038, 205), (1038, 569), (1025, 569), dashed=True)
    # From one to the other.
    d.arrow((480, 569), (545, 569), (545, 438), (810, 438))
    d.arrow((700, 438), (700, 322), (810, 322))
    d.parts.append('<circle cx="700" cy="438" r="3" fill="#44505f"/>')
    d.text(604, 462, "conditioning tokens:", anchor="start", colour="#4a5568")
    d.text(604, 479, "keys and values of each", anchor="start", colour="#4a5568")
    d.text(604, 496, "adapter, once a clip", anchor="start", colour="#4a5568")
    for line, words in enumerate(("text + tanh(gate)", "x cross-attention:", "text asks,", "face answers")):
        d.text(604, 224 + 17 * line, words, anchor="start", colour="#2f6b44")
    for index, (kind, words) in enumerate((("trained", "trained"), ("frozen", "frozen"), ("fixed", "not learned"))):
        fill, edge = KINDS[kind]
        y = 540 + 22 * index
        d.parts.append(f'<rect x="604" y="{y}" width="16" height="14" rx="3" fill="{fill}" stroke="{edge}"/>')
        d.text(628, y + 12, words, anchor="start")
    return d.svg()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
