"""The mismatches that people meet, each with the verdict that is expected of it."""

from cases.across import ACROSS
from cases.names import NAMES
from cases.objects import OBJECTS
from cases.places import PLACES

ROWS = [*NAMES, *OBJECTS, *PLACES, *ACROSS]
