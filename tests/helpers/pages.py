# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a browser would see of a page."""

from html.parser import HTMLParser
from pathlib import Path

HOSTILE = '<script>alert(1)</script>" onload="alert(2)'


class Page(HTMLParser):
    """Tags, attributes and text of an HTML file."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)

    def check_harmless(self):
        """Nothing in the page runs, and nothing is loaded."""
        assert not {"script", "link", "iframe"} & set(self.tags)
        assert ("http-equiv", "Content-Security-Policy") in self.attributes
        assert "<!DOCTYPE svg" not in self.source and "@import" not in self.source
        for name, value in self.attributes:
            assert not name.startswith("on"), (name, value)
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/jpeg;base64,", "#")), value
