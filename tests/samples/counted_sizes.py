"""What counted.py imports."""

HIDDEN = 128
