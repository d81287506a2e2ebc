"""The wheel holds what an installation needs, and nothing that a checkout alone has."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel as pip does, from a copy: a build leaves folders behind."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    bundle = sorted((ROOT / "tb_ckptmeta" / "plugin" / "static").iterdir())
    for name in [*listed.stdout.decode().splitlines(), *(str(p.relative_to(ROOT)) for p in bundle)]:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(copy)]
    subprocess.run(command, check=True)
    (built,) = out.iterdir()
    return zipfile.ZipFile(built)


def test_wheel_holds_every_module_the_bundle_and_the_type_marker(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "tb_ckptmeta").rglob("*.py")}
    static = {"tb_ckptmeta/plugin/static/index.js", "tb_ckptmeta/plugin/static/LICENSE.lit.txt"}
    assert modules | static | {"tb_ckptmeta/py.typed"} <= names
    assert not [n for n in names if n.startswith(("tests/", "frontend/", "docs/"))]


def test_wheel_offers_the_plugin_the_command_and_the_extras(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [n for n in wheel.namelist() if n.endswith("entry_points.txt")]
    (metadata,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    parsed = configparser.ConfigParser()
    parsed.read_string(wheel.read(entry_points).decode())
    assert dict(parsed["tensorboard_plugins"]) == {"ckptmeta": "tb_ckptmeta.plugin.loader:CkptMetaLoader"}
    assert dict(parsed["console_scripts"]) == {"tb-ckptmeta": "tb_ckptmeta.cli:main"}
    text = wheel.read(metadata).decode()
    required = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Requires-Dist")]
    assert {r for r in required if "extra ==" not in r} == {"tensorboard>=2.16", "werkzeug>=2.2"}
    for extra in ("tensorflow", "legacy", "test"):
        assert f"Provides-Extra: {extra}" in text


def test_wheel_installed_alone_runs_from_anywhere(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    script = (
        "import sys, tb_ckptmeta; from tb_ckptmeta.cli import main; "
        "print(tb_ckptmeta.__file__); sys.exit(main(sys.argv[1:]))"
    )
    builders = tmp_path / "builders.py"
    builders.write_text('from tb_ckptmeta import builder\n@builder("alone")\ndef alone(): ...\n')
    ended = subprocess.run(
        [sys.executable, "-c", script, "builders", "--builders", str(builders)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    # The worker it starts must find the same package, though nothing of it is on the worker's own path.
    assert ended.returncode == 0, ended.stderr
    assert str(tmp_path / "site") in ended.stdout
    assert "alone()" in ended.stdout
