# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""HTML pages about prepared corpora."""

PAGE = "report.html"
SAMPLE = 12  # clips shown of a split
