# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.

from lipread.start_up import limit_threads

limit_threads()  # before a benchmark imports PyTorch
