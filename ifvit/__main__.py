"""The entry points `python -m ifvit` and `ifvit`, the console script."""

from ifvit import program


def console_script() -> None:
    """`ifvit COMMAND`."""
    _run(program.CONSOLE_SCRIPT)


def _run(name: str) -> None:
    with program.started(name):
        from ifvit.cli.main import main  # after signals are handled

        main()


if __name__ == "__main__":
    _run(program.MODULE)
