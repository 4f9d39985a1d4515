# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a browser would see of a page."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Tags, attributes and text of an HTML file; subclasses take more from its tags."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.attributes, self.texts, self.figures = [], [], [], {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)
