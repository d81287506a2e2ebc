"""The documentation mentions what there is: every command, option, flag, format and error code."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import tb_ckptmeta
from tb_ckptmeta.cli.arguments import DESCRIPTIONS, make_parser
from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.core.formats import FORMATS
from tb_ckptmeta.plugin.loader import CkptMetaLoader

ROOT = Path(tb_ckptmeta.__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HTTP_API = (ROOT / "docs" / "http_api.md").read_text(encoding="utf-8")
PAGES = "\n".join([README, *(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").rglob("*.md")))])

OPTIONS = [
    (command, option)
    for command in DESCRIPTIONS
    for action in make_parser(command)._actions
    for option in action.option_strings
    if option not in ("-h", "--help")
]


def find_flags() -> list[str]:
    parser = argparse.ArgumentParser()
    CkptMetaLoader().define_flags(parser)
    return [o for action in parser._actions for o in action.option_strings if o not in ("-h", "--help")]


def mentions(text: str, word: str) -> bool:
    """Tell whether a word stands in a text whole: `--set` is not mentioned by `--settle`."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_every_command_is_in_the_readme() -> None:
    assert len(DESCRIPTIONS) == 10
    assert [c for c in DESCRIPTIONS if not mentions(README, c)] == []


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_of_every_command_is_documented(command: str, option: str) -> None:
    assert mentions(PAGES, option), f"{option} of {command}"


def test_every_flag_of_the_plugin_is_documented() -> None:
    assert [flag for flag in find_flags() if not mentions(PAGES, flag)] == []


@pytest.mark.parametrize("format", FORMATS)
def test_every_export_format_is_documented(format: str) -> None:
    assert mentions(PAGES, format)


def test_the_tab_offers_every_export_format() -> None:
    source = (ROOT / "frontend" / "src" / "elements" / "rebuild-form.ts").read_text(encoding="utf-8")
    assert re.findall(r'value: "([\w-]+)", label', source) == list(FORMATS)


@pytest.mark.parametrize("code", list(Code))
def test_every_error_code_is_in_the_http_api(code: Code) -> None:
    assert f"`{code.value}`" in HTTP_API


def test_every_link_between_the_pages_leads_somewhere() -> None:
    gone = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                gone.append(f"{page.name}: {target}")
    assert gone == []
