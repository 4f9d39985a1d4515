// Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
// Sends a camera's pictures to the server, as lipread/page/live.py describes, and shows its answers on the picture.
import { closeCamera, drawFace, openCamera } from "./common.js";

const WIDTH = 480; // pixels of the longer side that is sent
const WAITING = 4; // pictures without an answer, beyond which pictures are left out
const PERIOD = 36; // milliseconds between two pictures, hence at most 25 to 28 a second

export class CameraReader {
  /** `picture` holds a video, a canvas and a text; `light` says what is wrong; `onMessage` gets other answers. */
  constructor(picture, light, path, onMessage, onEnd) {
    [this.video, this.canvas, this.empty] = ["video", "canvas", ".empty"].map((name) => picture.querySelector(name));
    Object.assign(this, { light, path, onMessage, onEnd, waiting: 0, last: 0, contours: [] });
    this.small = document.createElement("canvas");
  }

  /** Opens camera and connection. Returns whether the program is ready; throws an Error for the visitor. */
  async start() {
    this.video.srcObject = await openCamera();
    this.empty.hidden = true;
    await this.video.play();
    this.show("The program is starting …", "");
    const address = new URL(this.path, document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.onmessage = ({ data }) => this.answer(data);
    this.socket.onclose = () => this.stop("The connection was lost. Start the camera again.");
    this.waiting = 0;
    this.ready = false;
    await new Promise((done) => (this.started = done));
    return this.ready;
  }

  stop(error = "") {
    if (!this.socket) return;
    const socket = this.socket;
    this.socket = null;
    socket.onclose = null;
    socket.close();
    closeCamera(this.video);
    drawFace(this.canvas, this.video, null, []);
    this.empty.hidden = false;
    this.show("", "");
    this.onEnd(error);
    this.started();
  }

  send(message) {
    this.socket?.send(JSON.stringify(message));
  }

  answer(data) {
    if (data instanceof Blob) return this.onMessage({ type: "file", blob: data });
    const message = JSON.parse(data);
    if (message.type === "error") return this.stop(message.message);
    if (message.type === "ready") {
      this.contours = message.contours;
      this.ready = true;
      this.started();
      this.next();
    } else if (message.type === "picture") {
      this.waiting--;
      drawFace(this.canvas, this.video, message.points, this.contours);
      this.show(message.problem || "Your face is well seen.", message.problem ? "bad" : "good");
    }
    this.onMessage(message);
  }

  /** Shows what is wrong with the picture; a screen reader says it when it changes. */
  show(text, kind) {
    if (this.light.textContent !== text) this.light.textContent = text;
    this.light.className = `light ${kind}`;
  }

  /** Sends the next picture of the camera when there is one. */
  next() {
    if (!this.socket) return;
    const send = (now) => {
      if (this.socket && this.waiting < WAITING && now - this.last >= PERIOD) this.sendPicture(now);
      this.next();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(send);
    else requestAnimationFrame(send);
  }

  sendPicture(now) {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return;
    this.last = now;
    this.waiting++;
    const scale = Math.min(1, WIDTH / Math.max(videoWidth, videoHeight));
    const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
    if (this.small.width !== width) this.small.width = width;
    if (this.small.height !== height) this.small.height = height;
    this.small.getContext("2d").drawImage(this.video, 0, 0, width, height);
    const time = new DataView(new ArrayBuffer(8));
    time.setFloat64(0, now / 1000);
    const encoded = (blob) => this.socket?.readyState === WebSocket.OPEN && this.socket.send(new Blob([time, blob]));
    this.small.toBlob(encoded, "image/jpeg", 0.8);
  }
}
