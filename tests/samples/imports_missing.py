"""A module that imports what is not there."""

from there_is_no_such_module import build_everything

build_everything()
