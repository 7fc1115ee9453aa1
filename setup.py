"""Installs the start-up hook (plugin/startup/) beside the packages, in both kinds of install.

Everything else is in pyproject.toml. setuptools has no setting for a file at the top of
site-packages that also works in editable installs, and both files must be in the wheel's RECORD so
that uninstalling removes them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

STARTUP_FILES = [
    Path("plugin/startup/lm_eval_valueeval.pth"),
    Path("plugin/startup/lm_eval_valueeval_hook.py"),
]


class BuildWithStartupHook(build_py):
    """Copies the files to the top of an ordinary wheel."""

    def run(self):
        """Build from scratch (else files of an earlier build are packed) and add the files."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for file in STARTUP_FILES:
                self.copy_file(str(file), str(Path(self.build_lib, file.name)))


class EditableWheelWithStartupHook(editable_wheel):
    """Copies the files to the top of an editable wheel."""

    def _run_build_commands(self, dist_name, unpacked_wheel, build_lib, tmp_dir):
        result = super()._run_build_commands(dist_name, unpacked_wheel, build_lib, tmp_dir)
        for file in STARTUP_FILES:
            shutil.copy(file, unpacked_wheel)
        return result


setup(cmdclass={"build_py": BuildWithStartupHook, "editable_wheel": EditableWheelWithStartupHook})
