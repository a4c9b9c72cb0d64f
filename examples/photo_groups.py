"""Ten everyday classes out of a folder of ImageNet photographs, split into train and test.

    python examples/photo_groups.py IMAGENET_FOLDER photos

IMAGENET_FOLDER has a folder of photographs for each synset (`val/n01440764/...`) and `classes.txt`,
whose lines are `index synset name`. Photographs of the synsets of a group become one class: `bird`
holds bramblings and flamingos alike. Every second photograph of a class is for testing.
"""

import shutil
import sys
from pathlib import Path

GROUPS = {
    "bird": "10 15 20 80 85 90 95 100 130 135 140 145",
    "building": "410 415 425 500 540 580 660 755 860 865 900 915",
    "clothing": "400 445 465 490 515 560 570 610 615 630 655 715 735 770 775",
    "dog": "155 160 165 170 175 180 185 190 195 200 205 210 215 220 225 230 235 240 245 250 255",
    "food": "925 930 935 940 945 950 955 960 965",
    "household": "435 440 470 495 505 520 545 550 585 700 720 725 750 760 765 840 845 855 905 910",
    "invertebrate": "70 75 110 115 120 125 300 305 310 315 320 325",
    "mammal": "105 150 280 285 290 295 330 335 340 345 350 355 360 365 370 375 380 385",
    "reptile": "25 30 35 40 45 50 55 60 65",
    "vehicle": "405 450 510 555 565 575 595 625 665 670 675 690 705 780 820 870 880 895",
}


def sort_photographs(folder: Path, out: Path) -> dict[str, int]:
    """Copy the photographs into ``OUT/train/CLASS`` and ``OUT/test/CLASS``; return counts."""
    lines = (folder / "classes.txt").read_text().splitlines()
    synsets = {index: synset for index, synset, _ in map(str.split, lines)}
    counts = {"train": 0, "test": 0}
    for group, indices in GROUPS.items():
        photographs = [
            path
            for index in indices.split()
            for path in sorted((folder / "val" / synsets[index]).glob("*.JPEG"))
        ]
        for number, path in enumerate(photographs):
            part = "test" if number % 2 else "train"
            target = out / part / group
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)
            counts[part] += 1
    return counts


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(sort_photographs(Path(sys.argv[1]), Path(sys.argv[2])))
