"""The front door: `python train.py dense=loftr data=fvc data.root=FOLDER`.

Hydra composes configs/, ifvit.config validates, one stage trains; `main` returns the number a sweep optimises: the
validation's exact cell accuracy of Module 1, the AUC of Module 2.
"""

import sys

from ifvit.cli_train import train_command


def main() -> float:
    """Run what the command line says."""
    return train_command(sys.argv[1:], program=["python", sys.argv[0]])


if __name__ == "__main__":
    main()
