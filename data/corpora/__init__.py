# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
