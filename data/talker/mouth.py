# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The talker's mouth: which landmarks of a portrait each articulatory parameter moves, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .visemes import PARAMETERS

# MediaPipe's lips from the left of the picture to the right; first and last are the corners.
OUTER_UPPER = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
OUTER_LOWER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]
INNER_UPPER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
INNER_LOWER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
LIPS = {-1: (OUTER_UPPER, INNER_UPPER), 1: (OUTER_LOWER, INNER_LOWER)}  # side (Y points down): outer and inner edge
# How far a landmark of the jaw and chin follows when the jaw drops.
JAW = {
    index: share
    for share, indices in {
        1.0: (152, 148, 377, 199, 175),
        0.95: (176, 400, 200),
        0.85: (149, 378, 208, 428, 211, 431),
        0.7: (150, 379),
        0.5: (136, 365),
        0.3: (172, 397),
        0.15: (58, 288),
    }.items()
    for index in indices
}
# How far the skin beside a corner of the mouth follows that corner.
CHEEKS = {
    61: {57: 0.85, 186: 0.6, 43: 0.6, 216: 0.4, 212: 0.45, 207: 0.25, 214: 0.2, 206: 0.2},
    291: {287: 0.85, 410: 0.6, 273: 0.6, 436: 0.4, 432: 0.45, 427: 0.25, 434: 0.2, 426: 0.2},
}
NOSE = [1, 2, 98, 327]
STILL = [*NOSE, 129, 358, 50, 280, 123, 352, 132, 361, 93, 323, 234, 454, 33, 133, 362, 263, 168, 10, 116, 345]
EYES = (33, 263)


@dataclass
class Mouth:
    """The lips of a portrait at rest, and their displacement by each articulatory parameter."""

    landmarks: np.ndarray  # of the portrait, float64 (478, 2), pixels of the canvas

    @cached_property
    def width(self) -> float:
        """Width of the mouth at rest in pixels, limited by the distance of the eyes in case the portrait smiles."""
        eyes = np.linalg.norm(np.subtract(*self.landmarks[list(EYES)]))
        return float(min(np.linalg.norm(self.landmarks[61] - self.landmarks[291]), 0.62 * eyes))

    @cached_property
    def centre(self) -> np.ndarray:
        """Where the lips meet at rest, `(x, y)`, near the upper inner lip, since the upper teeth do not move."""
        middle = self.landmarks[[61, 291]].mean(axis=0)
        upper, lower = self.landmarks[13, 1], self.landmarks[14, 1]
        return np.array([middle[0], upper + 0.35 * (lower - upper)])

    @cached_property
    def rest(self) -> np.ndarray:
        """The landmarks with the lips closed and not smiling, float64 `(478, 2)`."""
        rest = self.landmarks.copy()
        fullness = 1 + 2 * (2 * self._reach / self.width - 1)  # a smile thins the lips
        for side, (outer, inner) in LIPS.items():
            thickness = np.abs(self.landmarks[outer, 1] - self.landmarks[inner, 1])
            for ring, height in ((outer, fullness * side * thickness), (inner, 0.0)):
                x = (self.landmarks[ring, 0] - self.centre[0]) / self._reach
                droop = 0.02 * self.width * (x * x - 0.4)
                rest[ring] = np.stack([self.centre[0] + x * self.width / 2, self.centre[1] + droop + height], axis=1)
        for corner, shares in CHEEKS.items():
            for index, share in shares.items():
                rest[index] += share * (rest[corner] - self.landmarks[corner])
        return rest

    @property
    def _reach(self) -> float:
        return float(np.linalg.norm(self.landmarks[61] - self.landmarks[291]) / 2)

    @cached_property
    def moves(self) -> dict[int, np.ndarray]:
        """Displacement of each control landmark by each parameter: landmark -> `(parameters, 2)` pixels."""
        moves = {index: np.zeros((len(PARAMETERS), 2)) for index in STILL}
        moves |= {index: self._in_pixels(jaw=(0.0, 0.2 * share)) for index, share in JAW.items()}
        for side, (outer, inner) in LIPS.items():
            for o, i in zip(outer, inner, strict=True):
                red = (self.rest[o, 1] - self.rest[i, 1]) / self.width  # the lip's thickness, with its sign
                moves[o] = self._move_lip(o, side, red, abs(self.rest[[61, 291], 0] - self.centre[0]).min())
                moves[i] = self._move_lip(i, side, 0.0, abs(self.rest[[78, 308], 0] - self.centre[0]).min())
        for corner, shares in CHEEKS.items():
            moves |= {index: share * moves[corner] for index, share in shares.items()}
        return moves

    def _in_pixels(self, **moves: tuple[float, float]) -> np.ndarray:
        return self.width * np.array([moves.get(name, (0.0, 0.0)) for name in PARAMETERS])

    def _move_lip(self, index: int, side: int, red: float, corner: float) -> np.ndarray:
        """Returns the displacements of a landmark of the upper (side -1) or lower (1) lip."""
        from_middle = self.rest[index, 0] - self.centre[0]
        x = 2 * from_middle / self.width
        arch = max(0.0, 1 - (from_middle / corner) ** 2) ** 0.8  # relative to the middle of the lips
        opening = (0.42 if side > 0 else -0.07) * (0.9 if red else 1.0)
        return self._in_pixels(
            open=(0.0, opening * arch),
            width=(0.1 * x, -0.02 * x * x),
            round=(-0.17 * x, 0.35 * red),
            tuck=(0.0, (-0.05 if side < 0 else -0.09) * arch - (0.55 * red if side > 0 else 0.0)),
            press=(0.03 * x, -0.5 * red),
        )
