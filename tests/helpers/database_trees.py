"""The databases' trees as they are published, with empty files in place of images."""

from pathlib import Path

from ifvit.config import PartConfig, Source

SD302_SUBJECTS = range(2302, 2502)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def part(source: Source, root: Path, **changes) -> PartConfig:
    values = dict(root=str(root), databases=None, fvc_year=None, file_ppi=None, val_fingers=2, weight=1.0)
    return PartConfig(source=source, **{**values, **changes})


def fvc(root: Path, year: int = 2002, databases=("DB1_B",), ending="tif", dbs="Dbs/") -> Path:
    """FVC{year}: set A fingers 1-100 x 8 (2006: 1-140 x 12), set B 101-110 (2006: 141-150)."""
    wide, deep = (140, 12) if year == 2006 else (100, 8)
    for database in databases:
        fingers = range(1, wide + 1) if database[-1] in "aA" else range(wide + 1, wide + 11)
        for finger in fingers:
            for impression in range(1, deep + 1):
                touch(root / f"FVC{year}" / f"{dbs}{database}" / f"{finger}_{impression}.{ending}")
    return root / f"FVC{year}"


def sd4(root: Path, fingers: int = 2000) -> Path:
    """NIST SD4: fingers 0001-2000, f and s, with the text file that stands beside each image."""
    for number in range(1, fingers + 1):
        for side in "fs":
            name = f"figs_{(number - 1) // 250}/{side}{number:04d}_{(number - 1) % 10 + 1:02d}"
            touch(root / f"{name}.png")
            touch(root / f"{name}.txt")
    return root


def sd300(root: Path, subjects=range(1000, 1005), ppis=(500, 1000)) -> Path:
    """NIST SD300: ten rolled fingers, the plain thumbs as 11 and 12, slaps as 13 and 14, and fingers cut from them."""
    for ppi in ppis:
        for subject in subjects:
            for code in range(1, 11):
                touch(root / f"images/{ppi}/png/roll/{subject:08d}_roll_{ppi}_{code:02d}.png")
            for code in (2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14):
                touch(root / f"images/{ppi}/png/plain/{subject:08d}_plain_{ppi}_{code:02d}.png")
    return root


def sd301a(root: Path, subjects=range(2201, 2205)) -> Path:
    """NIST SD301a: several devices and captures of a dry run, slaps and palms among them."""
    for subject in subjects:
        for device, capture, codes in (
            ("A", "roll", range(1, 11)),
            ("B", "slap-segmented", (2, 3, 4, 5, 7, 8, 9, 10)),
            ("B", "plain", (11, 12, 13, 14, 15)),
            ("B", "palm", (21, 23)),
        ):
            for code in codes:
                folder = f"images/friction-ridge/dryrun-A/500/{capture}/png"
                touch(root / folder / f"{subject:08d}_01_{device}_500_{capture}_{code:02d}.png")
    return root


def sd302a(root: Path, subjects=SD302_SUBJECTS, devices="ABCDEFGH") -> Path:
    """NIST SD302a: ten rolled fingers by each challenger."""
    for device in devices:
        for subject in subjects:
            for code in range(1, 11):
                touch(root / f"images/challengers/{device}/roll/png/{subject:08d}_{device}_roll_{code:02d}.png")
    return root


def sd302b(root: Path, subjects=SD302_SUBJECTS, devices="RSUV", ppis=(500, 1000)) -> Path:
    """NIST SD302b: the baseline devices, two resolutions; of device U the slaps and what was cut from them."""
    for device in devices:
        captures = {"slap": (13, 14, 15), "slap-segmented": range(1, 11)} if device == "U" else {"roll": range(1, 11)}
        for ppi in ppis:
            for capture, codes in captures.items():
                for subject in subjects:
                    for code in codes:
                        folder = f"images/baseline/{device}/{ppi}/{capture}/png"
                        touch(root / folder / f"{subject:08d}_{device}_{ppi}_{capture}_{code:02d}.png")
    return root


def fpgan(root: Path, identities: int = 20, impressions: int = 4) -> Path:
    for identity in range(identities):
        for impression in range(impressions):
            touch(root / f"ID_{identity:07d}" / f"seed{identity}_im{impression:03d}_v1.png")
    return root


def folders(root: Path, identities: int = 12, impressions: int = 5) -> Path:
    """PrintsGAN, MOLF and the like: a folder for each finger."""
    for identity in range(identities):
        for impression in range(impressions):
            touch(root / f"{identity:04d}" / f"{impression}.png")
    return root
