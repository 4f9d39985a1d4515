# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`python -m data.talker`."""

from . import main

if __name__ == "__main__":
    main()
