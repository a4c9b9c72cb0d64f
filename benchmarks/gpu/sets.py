"""Write the -C and -P form of a test set while the GPU trains, in a process without torch.

python benchmarks/gpu/sets.py NAME DATA FOLDER --sequence-images 1000 --processes 14
"""

import argparse
from pathlib import Path

from augmix.data.derived import take
from augmix.data.sources import open_source
from augmix.write import CorruptOptions, PerturbOptions
from augmix.write.sets import write_corrupted, write_perturbed


def main() -> None:
    """Write both sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name of the source for augmix.open_source")
    parser.add_argument("data", help="folder or file of the source")
    parser.add_argument("folder", type=Path, help="where to write the folders c and p")
    parser.add_argument("--corruptions", nargs="+", default=["paper-15"])
    parser.add_argument("--sequences", nargs="+", default=["standard-10"])
    parser.add_argument("--sequence-images", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args()
    source = open_source(options.name, root=options.data, split="test")
    form = {"preset": "cifar", "num_processes": options.processes, "layout": "cifar"}
    corruptions = CorruptOptions(names=tuple(options.corruptions), **form)
    write_corrupted(source, options.folder / "c", corruptions)
    few = take(source, options.sequence_images)
    sequences = PerturbOptions(names=tuple(options.sequences), **form)
    write_perturbed(few, options.folder / "p", sequences)


if __name__ == "__main__":
    main()
