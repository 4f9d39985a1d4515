# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Corpora, training and evaluation, which need the extra `train`."""

from importlib.util import find_spec

from lipread.start_up import limit_threads

limit_threads()  # before a command imports PyTorch
PACKAGES = ("accelerate", "datasets", "filelock", "peft", "rapidfuzz", "scipy", "yaml")
if missing := [name for name in PACKAGES if not find_spec(name)]:
    raise ModuleNotFoundError(
        f"{', '.join(missing)} not installed. Corpora, training and evaluation need the extra train; in the checkout: "
        "pip install -c constraints.txt -e '.[train]'",
        name=missing[0],
    )
