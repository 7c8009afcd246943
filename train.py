"""The entry point for training: `python train.py dense=loftr data=fvc data.root=FOLDER`.

Hydra composes the config from configs/, `ifvit.config` validates it, one stage trains. `main` returns the validation's
objective, which a sweep optimises: the exact cell accuracy of Module 1, the AUC of Module 2.
"""

import sys

from ifvit import program


def main() -> float | None:
    """Run the command line."""
    with program.started(program.MODULE, script=sys.argv[0]):
        from ifvit.cli.train import train_command  # after signals are handled

        return train_command(sys.argv[1:])


if __name__ == "__main__":
    main()
