# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws a portrait with a moving mouth and jaw: articulatory parameters to pictures.

MediaPipe finds the lips and the jaw of the portrait. Each articulatory parameter displaces these landmarks, and
thin-plate splines extend the displacements over the skin, so a frame costs one linear combination of precomputed
fields. The skin has two layers, cut along the lips, one with the upper and one with the lower lip. Between them the
inside of the mouth is drawn: teeth, tongue and darkness.
"""

from __future__ import annotations

import cv2
import numpy as np
import skimage.data
from scipy.interpolate import RBFInterpolator

from .mouth import CHEEKS, EYES, JAW, LIPS, NOSE, STILL, Mouth
from .visemes import PARAMETERS

CANVAS = 320  # pixels; the video's frame is cut from its middle, with room for the head to move
FACE_HEIGHT = 175  # pixels of the canvas from forehead to chin


def upright() -> tuple[np.ndarray, np.ndarray]:
    """Turns, scales and crops scikit-image's portrait so that the face stands upright in the middle.

    Returns the canvas, RGB, uint8 `(CANVAS, CANVAS, 3)`, and its landmarks in pixels, X right and Y down, `(478, 2)`.
    """
    # Imported here, since it imports torch, which the processes that only draw do not need.
    from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor

    picture = skimage.data.astronaut()
    for _ in range(2):  # the second time MediaPipe sees the enlarged face and is more exact
        with Face3DKeypointExtractor() as extractor:
            keypoints = extractor.extract(np.ascontiguousarray(picture))
        landmarks = keypoints[:, :2].astype(np.float64) * (1, -1)
        left, right = landmarks[EYES[0]], landmarks[EYES[1]]
        angle = np.degrees(np.arctan2(*(right - left)[::-1]))
        scale = FACE_HEIGHT / np.linalg.norm(landmarks[152] - landmarks[10])
        centre = (landmarks[152] + landmarks[10]) / 2
        matrix = cv2.getRotationMatrix2D(tuple(centre), angle, scale)
        matrix[:, 2] += CANVAS / 2 - centre
        size = (CANVAS, CANVAS)
        picture = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return picture, landmarks @ matrix[:, :2].T + matrix[:, 2]


class TalkingFace:
    """Draws scikit-image's portrait of the astronaut Eileen Collins with its mouth in any position."""

    def __init__(self) -> None:
        self.canvas, landmarks = upright()
        self.mouth = Mouth(landmarks)
        self._choose_patches()
        self._full_grid = self._grid(step=1)
        self._half_grid = self._grid(step=2)
        self._layers = [self._cut_layer(side) for side in LIPS]
        # Half the resolution is enough for fields as smooth as these.
        self._fields = [self._spread(side, self.mouth.moves, self._half_grid) for side in LIPS]
        self._draw_inside()

    def _choose_patches(self) -> None:
        """Sets the part of the canvas that changes, from the nose to below the chin, and the mouth within it."""
        landmarks, width = self.mouth.landmarks, self.mouth.width
        left, top = max(int(landmarks[:, 0].min()) - 4, 0), int(landmarks[1, 1])
        right = min(int(landmarks[:, 0].max()) + 4, CANVAS)
        bottom = min(int(landmarks[152, 1] + 0.8 * width), CANVAS)
        self.size = ((right - left) // 2 * 2, (bottom - top) // 2 * 2)  # even, for fields of half the resolution
        self.origin = np.array([left, top], float)
        self._patch = (slice(top, top + self.size[1]), slice(left, left + self.size[0]))
        x, y = self.mouth.centre - self.origin
        self._gape = (
            slice(max(int(y - 0.3 * width), 0), int(y + 0.75 * width)),
            slice(int(x - 0.75 * width), int(x + 0.75 * width)),
        )

    def _grid(self, step: int) -> np.ndarray:
        """Returns the centres of the squares of `step` pixels in the patch, float32 `(rows, columns, 2)`."""
        x, y = (np.arange((step - 1) / 2, n, step, dtype=np.float32) for n in self.size)
        return np.stack(np.meshgrid(x, y), axis=-1)

    def _cut_layer(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the skin above (side -1) or below (1) the cut along the lips, at rest, and its opacity."""
        points = self.mouth.landmarks - self.origin
        width, height = self.size
        # The upper layer ends at the cut and its extension; the lower layer continues under it beyond the corners.
        cut = points[LIPS[side][1]] + (0, 0.8 * side)
        if side < 0:
            ends = [[width, cut[-1, 1]], [width, 0], [0, 0], [0, cut[0, 1]]]
        else:
            ends = [[cut[-1, 0], 0], [width, 0], [width, height], [0, height], [0, 0], [cut[0, 0], 0]]
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(np.vstack([cut, ends]) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        opacity = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255
        # From rest back to the portrait.
        moves = (self.mouth.landmarks - self.mouth.rest)[:, None]
        source = self._full_grid + self._spread(side, moves, self._full_grid)[0]
        return tuple(
            cv2.remap(part, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            for part in (self.canvas[self._patch], opacity)
        )

    def _spread(self, side: int, moves: np.ndarray | dict[int, np.ndarray], grid: np.ndarray) -> np.ndarray:
        """Spreads displacements of landmarks, `(fields, 2)`, over `grid`: float32 `(fields, rows, columns, 2)`."""
        width, height = self.size
        indices = {*STILL, *JAW, *CHEEKS[61], *CHEEKS[291], *LIPS[side][0], *LIPS[side][1]}
        border = [(x, height) for x in np.linspace(0, width, 7)]
        border += [(x, y) for x in (0, width) for y in np.linspace(height / 3, height, 5)[:-1]]
        edges = [grid[..., 0], width - 1 - grid[..., 0], height - 1 - grid[..., 1]]
        if side < 0:
            border += [(x, 0) for x in np.linspace(0, width, 7)]
            edges.append(grid[..., 1])
        else:
            # This layer is invisible above the cut. With a fixed nose its field would fold over itself.
            indices -= set(NOSE)
        known = np.stack([moves[index].ravel() for index in sorted(indices)])
        known = np.vstack([known, np.zeros((len(border), known.shape[1]))])
        points = np.vstack([self.mouth.rest[sorted(indices)] - self.origin, border])
        spline = RBFInterpolator(points, known, kernel="thin_plate_spline", smoothing=0.5)
        fields = spline(grid.reshape(-1, 2)).reshape(*grid.shape[:2], -1, 2)
        window = np.clip(np.min(edges, axis=0) / 12, 0, 1)[..., None]  # continuous at the border of the patch
        return np.stack([field * window for field in np.moveaxis(fields, 2, 0)]).astype(np.float32)

    def _draw_inside(self) -> None:
        """Draws the dark mouth with the upper teeth, and the layers inside it that move with the jaw."""
        width = self.mouth.width
        rows, columns = self._gape
        x, y = np.moveaxis(self._full_grid[rows, columns] + self.origin - self.mouth.centre, -1, 0) / width
        light = np.clip(self.canvas[self._patch].mean() / 140, 0.4, 1.0)  # teeth are as bright as the skin
        shade = 1.15 - 0.5 * np.clip(1 - 2.2 * np.abs(x), 0.25, 1)
        darkness = light * np.array([62.0, 22.0, 22.0]) * shade[..., None]
        gaps = 1 - 0.12 * np.exp(-((((x / 0.085 + 0.5) % 1 - 0.5) / 0.09) ** 2))  # between one tooth and the next
        ivory = light * np.array([226.0, 216.0, 202.0]) * (gaps * np.clip(1.1 - 6.4 * x**2, 0.25, 1))[..., None]
        flesh = light * np.array([188.0, 96.0, 98.0]) * (0.85 + 0.3 * np.clip(-y, -0.2, 0.2))[..., None]
        self._tongue = _part(flesh * 0.75, _soft(1 - (x / 0.3) ** 2 - ((y + 0.02) / 0.1) ** 2, 0.15))
        self._tip = _part(flesh * 1.05, _soft(1 - (x / 0.17) ** 2 - ((y + 0.03) / 0.09) ** 2, 0.15))
        self._lower_teeth = _part(ivory * 0.85, _soft(y + 0.035 + 0.1 * x**2, 0.012) * _soft(0.33 - np.abs(x), 0.03))
        upper_teeth = _part(ivory, _soft(0.07 - 0.12 * x**2 - y, 0.015) * _soft(0.4 - np.abs(x), 0.03))
        self._inside = _over(upper_teeth, darkness.astype(np.uint8))

    def draw(self, parameters: np.ndarray) -> np.ndarray:
        """Draws one frame, RGB, uint8 `(CANVAS, CANVAS, 3)`, from the articulatory parameters `(parameters,)`."""
        weights = np.asarray(parameters, np.float32)
        upper, (skin, opacity) = (
            self._warp(layer, np.tensordot(weights, field, axes=1))
            for layer, field in zip(self._layers, self._fields, strict=True)
        )
        inside = self._mouth_inside(dict(zip(PARAMETERS, weights.tolist(), strict=True)))
        skin[self._gape] = _over((skin[self._gape], opacity[self._gape]), inside)
        canvas = self.canvas.copy()
        canvas[self._patch] = _over(upper, skin)
        return canvas

    def _warp(self, layer: tuple[np.ndarray, np.ndarray], field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moves a layer forward along a field: solves source + field(source) = target by fixed-point iteration."""
        moved = field
        for _ in range(3):
            place = (self._half_grid - moved) / 2 - 0.25  # where that is in the half-sized field
            moved = cv2.remap(field, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        source = self._full_grid - cv2.resize(moved, self.size, interpolation=cv2.INTER_LINEAR)
        return tuple(
            cv2.remap(part, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in layer
        )

    def _mouth_inside(self, position: dict[str, float]) -> np.ndarray:
        """Returns the inside of the mouth; tongue and lower teeth move with the lower lip."""
        drop = self.mouth.width * (0.42 * position["open"] + 0.02)
        inside = self._inside
        parts = [(self._tongue, 0.85 * drop, 1.0), (self._lower_teeth, drop, 1.0)]
        if position["tongue"] > 0.01:
            parts.append((self._tip, 0.5 * drop, min(1.0, 1.3 * position["tongue"])))
        for part, down, opacity in parts:
            matrix = np.array([[1, 0, 0], [0, 1, down]], np.float32)
            size = inside.shape[1::-1]
            colour, mask = (cv2.warpAffine(p, matrix, size, borderMode=cv2.BORDER_REPLICATE) for p in part)
            inside = _over((colour, mask * opacity), inside)
        return inside


def _soft(distance: np.ndarray, softness: float) -> np.ndarray:
    """Returns a mask that is 1 where the distance is positive, with a soft edge."""
    return 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))


def _part(colour: np.ndarray, opacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.clip(colour, 0, 255).astype(np.uint8), opacity.astype(np.float32)


def _over(layer: tuple[np.ndarray, np.ndarray], background: np.ndarray) -> np.ndarray:
    """Returns a layer of colour and opacity over a background."""
    return cv2.blendLinear(layer[0], background, layer[1], 1 - layer[1])
