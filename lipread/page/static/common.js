// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// What the tabs share: the camera, the drawing of landmarks, speech and the clipboard.

export const get = (id) => document.getElementById(id);

/** Returns a stream of the camera in front of the person, without sound. Throws an Error for the visitor. */
export async function openCamera() {
  const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    if (!navigator.mediaDevices) throw new Error("The browser opens the camera on https or localhost only.");
    const reasons = {
      NotAllowedError: "The camera is not allowed. Allow it in the browser's address bar, and try again.",
      NotFoundError: "No camera was found. Connect one, and try again.",
      NotReadableError: "The camera is used by another program. Close it, and try again.",
    };
    throw new Error(reasons[error.name] ?? `The camera cannot be opened (${error.name}).`);
  }
}

export function closeCamera(video) {
  video.srcObject?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

/** Draws a face: `points` are x and y in thousandths of the picture, `lengths` the number of each contour. */
export function drawFace(canvas, video, points, lengths) {
  if (canvas.width !== video.videoWidth) canvas.width = video.videoWidth;
  if (canvas.height !== video.videoHeight) canvas.height = video.videoHeight;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!points) return;
  pen.lineWidth = Math.max(2, canvas.width / 240);
  let first = 0;
  lengths.forEach((length, contour) => {
    pen.strokeStyle = contour < 2 ? "#ff2878" : "#5fe0a0"; // lips, then the rest
    pen.beginPath();
    for (let index = first; index < first + length; index++) {
      pen.lineTo((points[2 * index] * canvas.width) / 1000, (points[2 * index + 1] * canvas.height) / 1000);
    }
    pen.closePath();
    pen.stroke();
    first += length;
  });
}

export function speak(text) {
  if (text) window.speechSynthesis?.speak(new SpeechSynthesisUtterance(text));
}

/** Copies text, and says so on the button for a moment. */
export async function copy(button, text) {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    said = "Not allowed";
  }
  const label = button.textContent;
  button.textContent = said;
  setTimeout(() => (button.textContent = label), 1500);
}
