"""Tell whether TensorFlow can restore from a prefix of that name at all. Runs anywhere."""

from __future__ import annotations

import fnmatch


def find_name_problem(prefix: str) -> str:
    """Say in a sentence why TensorFlow restores nothing from an absolute prefix of that name; empty where it does.

    Its readers take names in UTF-8, and look for a prefix as for a pattern (`GetMatchingPaths`, which is `fnmatch`),
    of which they then use none but the name itself: `*` and `?` match themselves, a set does not.
    """
    folders, name = prefix.split("/")[:-1], prefix.rpartition("/")[2]
    for part, what in (*((folder, f"the folder {folder}") for folder in folders), (name, "its files")):
        if not _is_utf_8(part):
            return f"TensorFlow restores nothing from {prefix}: it takes names in UTF-8 alone. Rename {what}."
        if "\\" in part or not fnmatch.fnmatchcase(part, part):
            return (
                f"TensorFlow restores nothing from {prefix}: it reads a prefix as a pattern, in which brackets are a "
                f"set of characters and a backslash quotes the next one, and finds no file. Rename {what}."
            )
    return ""


def _is_utf_8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
