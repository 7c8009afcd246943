"""The front door: `python train.py dense=loftr data=fvc data.root=FOLDER`.

Hydra composes configs/, ifvit.config validates, one stage trains; `main` returns the number a sweep optimises: the
validation's exact cell accuracy of Module 1, the AUC of Module 2.
"""

import sys

from ifvit import program


def main() -> float | None:
    """Run what the command line says."""
    with program.started(program.MODULE, script=sys.argv[0]):
        from ifvit.cli.train import train_command  # not before signals are heard

        return train_command(sys.argv[1:])


if __name__ == "__main__":
    main()
