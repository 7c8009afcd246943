"""`python -m ifvit`."""

from ifvit.cli import command

if __name__ == "__main__":
    command()
