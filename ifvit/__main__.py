"""Where the program begins: `python -m ifvit`, and the console script `ifvit`."""

from ifvit import program


def console_script() -> None:
    """`ifvit COMMAND`."""
    _run(program.CONSOLE_SCRIPT)


def _run(name: str) -> None:
    with program.started(name):
        from ifvit.cli.main import main  # not before signals are heard

        main()


if __name__ == "__main__":
    _run(program.MODULE)
