# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The web page, which also runs as a Hugging Face Space: reads videos and a live camera.

python app.py
python app.py --model runs/grid --port 7861

Nothing is kept: a video is deleted as soon as it has been read, and camera pictures are not stored.
docs/publishing.md says how to make a Space of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from lipread.cli import INTERRUPTED
from lipread.start_up import limit_threads

limit_threads(1)  # a process, since several visitors share the cores
try:
    import uvicorn

    from lipread.page.server import MAX_MESSAGE_BYTES, Page
except ModuleNotFoundError as error:
    sys.exit(f"error: the page needs the extra app ({error}): pip install -c constraints.txt -e '.[app]'")

EXAMPLE = Path(__file__).with_name("examples") / "clip.mp4"
BUNDLED_MODEL_NOTE = (
    "This small reader can learn your own phrases. It knows the 51 words of GRID (“bin blue at f two now”) "
    "by mostly one speaker."
)


def main(arguments: list[str] | None = None) -> None:
    """Runs the server until it is ended by Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("LIPREAD_MODEL"), help="folder or Hub id of a reader")
    parser.add_argument("--device", default="auto", help="torch device (default: a GPU if there is one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="port (default: 7860; 0: any free one)")
    options = parser.parse_args(arguments)
    try:
        listener = socket.create_server((options.host, options.port))
    except OSError as error:
        sys.exit(f"error: --host {options.host} --port {options.port}: {error.strerror}; give another --port")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # deletes the folder
    with tempfile.TemporaryDirectory(prefix="lipread-page-") as folder:
        note = "" if options.model else BUNDLED_MODEL_NOTE
        example = EXAMPLE if EXAMPLE.is_file() else None
        page = Page(options.model, options.device, Path(folder), example, note)
        if error := asyncio.run(page.check_reader()):
            sys.exit(f"error: {error}")
        print(f"The page is at http://{options.host}:{listener.getsockname()[1]}; Ctrl-C ends it", flush=True)
        settings = uvicorn.Config(
            page.app, log_level="warning", timeout_graceful_shutdown=1, ws_max_size=MAX_MESSAGE_BYTES
        )
        uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
