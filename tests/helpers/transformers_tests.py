# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests, from the source distribution of the installed version.

`python -m tests.helpers.transformers_tests` fetches it from the package index into `.cache/`, which git ignores.
"""

import importlib
import subprocess
import sys
import tarfile
import unittest
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import transformers

FOLDER = Path(__file__).parents[2] / ".cache" / f"transformers-{transformers.__version__}"
PACKAGE = "transformers_tests"
# What these tests import from elsewhere in transformers' repository, and the distribution lacks. Without its mixins,
# generation is left to this project's own tests, as export is.
MISSING = {
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    f"{PACKAGE}.utils.test_configuration_utils": {"config_common_kwargs": {"output_hidden_states": True}},
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}


def load(name: str) -> ModuleType:
    """Imports one of transformers' test modules; skips the calling module if they are not there."""
    if not FOLDER.is_dir():
        raise unittest.SkipTest(f"no tests of transformers in {FOLDER}: python -m tests.helpers.transformers_tests")
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    for module, contents in MISSING.items():
        for parent in (module.rpartition(".")[0], module):
            if parent and parent != PACKAGE:
                sys.modules.setdefault(parent, ModuleType(parent))
        vars(sys.modules[module]).update(contents)
    return importlib.import_module(f"{PACKAGE}.{name}")


def without(mixin: type, reasons: dict[str, str]) -> type:
    """Returns a subclass of a mixin that skips the tests whose names match a pattern, each for its reason."""
    skipped = {
        test: unittest.skip(reason)(getattr(mixin, test))
        for pattern, reason in reasons.items()
        for test in dir(mixin)
        if fnmatch(test, pattern)
    }
    return type(mixin.__name__, (mixin,), skipped)


def main() -> int:
    """Fetches the tests unless they are there. Returns 0 in any case, since without them their tests are skipped."""
    if FOLDER.is_dir():
        return 0
    FOLDER.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=FOLDER.parent) as folder:
        wanted = ["--no-deps", "--no-binary", "transformers", f"transformers=={transformers.__version__}"]
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *wanted])
        if done.returncode:
            print("transformers' source distribution could not be fetched: its common tests will be skipped")
            return 0
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, [file for file in archive if "/tests/" in file.name], filter="data")
        tests = next(Path(folder).glob("*/tests"))
        tests.rename(tests.with_name(PACKAGE))
        tests.with_name(PACKAGE).joinpath("__init__.py").touch()
        tests.parent.rename(FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
