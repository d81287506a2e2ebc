"""Packaging: pyproject.toml says what, this builds the frontend's bundle when it is missing."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
BUNDLE = HERE / "tb_ckptmeta" / "plugin" / "static" / "index.js"


def build_frontend():
    if BUNDLE.exists() or not (HERE / "frontend" / "package.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit(
            "The Checkpoints tab's bundle is not built, and npm is not installed to build it: install Node.js 20 or "
            "newer, or install a released wheel, which has it."
        )
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=HERE / "frontend", check=True)
    subprocess.run([npm, "run", "build"], cwd=HERE / "frontend", check=True)


class BuildPy(build_py):
    def run(self):
        build_frontend()
        super().run()


class Sdist(sdist):
    def run(self):
        build_frontend()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
