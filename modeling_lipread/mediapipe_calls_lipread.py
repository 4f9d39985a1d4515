# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How frames get to MediaPipe's FaceLandmarker and landmarks back: by its C functions, or through its Python.

MediaPipe's Python hands each call over to a thread of its own, declares the functions anew for each image and makes an
object of each of 478 landmarks a frame: together a tenth of what the landmarker itself takes.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from operator import attrgetter
from typing import Any

import numpy as np

_coordinates = attrgetter("x", "y", "z")


class ObjectCalls:
    """Calls a landmarker through MediaPipe's Python.

    Args:
        mediapipe: The package.
        landmarker: Its FaceLandmarker.
    """

    def __init__(self, mediapipe: Any, landmarker: Any):
        self._mediapipe = mediapipe
        self._landmarker = landmarker

    def detect(self, pixels: np.ndarray, milliseconds: int | None) -> list[np.ndarray]:
        """Finds the faces of an image, or of the next frame of a video.

        Args:
            pixels: RGB, uint8, `(height, width, 3)`, contiguous.
            milliseconds: When the frame is shown, in video mode; None in image mode.

        Returns:
            Float32 `(478, 3)` of each face, as MediaPipe has them: shares of the image's width and height.
        """
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)
        if milliseconds is None:
            result = self._landmarker.detect(image)
        else:
            result = self._landmarker.detect_for_video(image, milliseconds)
        return [np.array([_coordinates(point) for point in face], np.float32) for face in result.face_landmarks]


class DirectCalls:
    """Calls a landmarker by the C functions that MediaPipe's Python calls.

    Args:
        mediapipe: The package.
        landmarker: Its FaceLandmarker.

    Raises:
        AttributeError: This version of MediaPipe has other functions or results than those known here.
    """

    def __init__(self, mediapipe: Any, landmarker: Any):
        self._landmarker = landmarker
        self._lock = threading.Lock()  # what MediaPipe's thread is for: one call at a time
        try:
            tasks, images = sys.modules[type(landmarker).__module__], sys.modules[mediapipe.Image.__module__]
            library = landmarker._lib._lib
            self._result_type = tasks.MpFaceLandmarkerResultC
            self._detect_image = _function(library, tasks, "MpFaceLandmarkerDetectImage", 5)
            self._detect_for_video = _function(library, tasks, "MpFaceLandmarkerDetectForVideo", 6)
            self._close_result = _function(library, tasks, "MpFaceLandmarkerCloseResult", 1)
            self._create_image = _function(library, images, "MpImageCreateFromUint8Data", 7)
            self._free_image = _function(library, images, "MpImageFree", 1)
            self._free_error = library.MpErrorFree
            self._format = int(mediapipe.ImageFormat.SRGB)
            found = dict(self._result_type._fields_)["face_landmarks"]._type_
            point = dict(found._fields_)["landmarks"]._type_
            if list(point._fields_[:3]) != [(axis, ctypes.c_float) for axis in ("x", "y", "z")]:
                raise AttributeError(f"{point.__name__} holds {point._fields_[:3]}")
            self._stride = ctypes.sizeof(point) // ctypes.sizeof(ctypes.c_float)
        except (KeyError, TypeError, ValueError) as error:
            raise AttributeError(f"another MediaPipe: {error}") from error

    def detect(self, pixels: np.ndarray, milliseconds: int | None) -> list[np.ndarray]:
        """As `ObjectCalls.detect`."""
        height, width, _ = pixels.shape
        image, result = ctypes.c_void_p(), self._result_type()
        data = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        with self._lock:
            handle = self._landmarker._handle
            if not handle:
                raise ValueError("The landmarker is closed.")
            self._call(self._create_image, self._format, width, height, data, pixels.size, ctypes.byref(image))
            try:
                if milliseconds is None:
                    self._call(self._detect_image, handle, image, None, ctypes.byref(result))
                else:
                    self._call(self._detect_for_video, handle, image, None, milliseconds, ctypes.byref(result))
            finally:
                self._free_image(image)
            try:
                return [self._as_array(result.face_landmarks[face]) for face in range(result.face_landmarks_count)]
            finally:
                self._close_result(ctypes.byref(result))

    def _call(self, function: Any, *arguments: Any) -> None:
        message = ctypes.c_char_p()
        if function(*arguments, ctypes.byref(message)) == 0:
            return
        try:
            raise RuntimeError(f"{function.__name__}: {(message.value or b'no reason given').decode()}")
        finally:
            self._free_error(message)

    def _as_array(self, found: Any) -> np.ndarray:
        size = found.landmarks_count * self._stride
        floats = ctypes.string_at(found.landmarks, size * ctypes.sizeof(ctypes.c_float))
        return np.frombuffer(floats, np.float32).reshape(-1, self._stride)[:, :3]


def make_calls(mediapipe: Any, landmarker: Any) -> DirectCalls | ObjectCalls:
    """The fastest way to call a landmarker that this version of MediaPipe has."""
    try:
        return DirectCalls(mediapipe, landmarker)
    except AttributeError:
        return ObjectCalls(mediapipe, landmarker)


def _function(library: Any, module: Any, name: str, arguments: int) -> Any:
    """A C function as MediaPipe's Python declares it, if it takes so many arguments."""
    declared = {signature.func_name: signature for signature in module._CTYPES_SIGNATURES}[name]
    if len(declared.argtypes) != arguments:
        raise AttributeError(f"{name} takes {len(declared.argtypes)} arguments, not {arguments}")
    function = library[name]  # an object of its own, whose types nobody else changes
    function.argtypes, function.restype = declared.argtypes, declared.restype
    return function
