"""The commands: `python -m ifvit COMMAND`, `ifvit COMMAND` and what `train.py` runs."""
