"""Parquet tables in the layout of the Hugging Face Hub.

Rows of parquet files cannot be read at random: a whole group of them is decompressed for each. So
the images of a large set are copied to Arrow files in the user's cache folder, which are mapped
into memory: they take about the disk space of the set.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from augmix.data.decode import ImageError
from augmix.data.folders import check_named_split, check_shards, missing_split, serves
from augmix.data.stores import (
    ImageFiles,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_classes,
    check_labels,
    number_classes,
)
from augmix.data.trees import (
    SERVING,
    FolderTree,
    compose,
    index_classes,
    is_hidden,
    is_split,
    order_classes,
    split_kind,
)
from augmix.errors import RunError, import_library
from augmix.files import cache_folder, file_key, open_atomic

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
CONTAINERS = ("", "data", "plain_text", "default")
MEMORY_BYTES = 2**32  # of parquet files that are read as a whole
_ROWS = 256  # written at a time


def _load_schema(path: Path) -> Any:
    with _reading(path):
        from pyarrow import parquet

        return parquet.read_schema(path)


def _load_column(path: Path, name: str, *, is_large: bool = False) -> Any:
    """A column as an Arrow chunked array, mapped from the cache folder if the file is large."""
    with _reading(path):
        import pyarrow
        from pyarrow import ipc, parquet

        if not is_large:
            return parquet.read_table(path, columns=[name])[name]
        return ipc.open_file(pyarrow.memory_map(str(_write_arrow(path, name)))).read_all()[name]


def _join_columns(columns: Sequence[Any], paths: Sequence[Path]) -> Any:
    import pyarrow

    for column, path in zip(columns, paths, strict=True):
        if column.type != columns[0].type:
            raise RunError(
                f"{path}: expected {columns[0].type} as in {paths[0]}, got {column.type}"
            )
    chunks = [chunk for column in columns for chunk in column.chunks]
    return pyarrow.chunked_array(chunks, columns[0].type)


def _write_arrow(path: Path, name: str) -> Path:
    """The Arrow file of a column, written unless it is there."""
    from pyarrow import ipc, parquet

    arrow = cache_folder("tables") / f"{file_key(path)}-{name}.arrow"
    if arrow.exists():
        return arrow
    arrow.parent.mkdir(parents=True, exist_ok=True)
    with parquet.ParquetFile(path) as file, open_atomic(arrow) as sink:
        wanted = file.schema_arrow.empty_table().select([name]).schema
        with ipc.new_file(sink, wanted) as writer:
            for batch in file.iter_batches(batch_size=_ROWS, columns=[name]):
                writer.write_batch(batch)
    return arrow


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors of Arrow into `RunError`."""
    pyarrow = import_library("pyarrow", "reading parquet", "augmix[parquet]")
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise RunError(
            f"cannot read {path}: {error}; the file may be truncated, fetch it again"
        ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class TableItems(ImageFiles):
    """Encoded images in a column of binary cells."""

    cells: Any  # an Arrow chunked array
    paths: tuple[str, ...]
    starts: Int64[np.ndarray, " file"]  # the first row of each file
    is_large: bool  # whether the cells are mapped from the disk
    column: str
    unlabelled: frozenset[int] = frozenset()  # rows without a label, which are broken

    def __reduce__(self) -> Any:
        """Let another process read the files itself."""
        return _reload, (self.paths, self.column)

    def __len__(self) -> int:
        return len(self.cells)

    def where(self, index: int) -> str:
        file = int(np.searchsorted(self.starts, index, side="right")) - 1
        return f"{self.paths[file]}, row {index - int(self.starts[file])}"

    def digest(self, rows: np.ndarray) -> str:
        """Hash the images; where they are mapped, their lengths and the ends of up to 1,000."""
        if self.is_large:
            from pyarrow import compute

            measure: Any = compute
            sizes = measure.fill_null(measure.binary_length(self.cells), 0).to_numpy()
            hasher = hashlib.sha256(sizes[rows].astype("<i8").tobytes())
            self.hash_ends(rows, hasher)
            return hasher.hexdigest()
        hasher = hashlib.sha256()
        for row in rows:
            content = self.cells[int(row)].as_py() or b""
            hasher.update(len(content).to_bytes(8, "little"))
            hasher.update(content)
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        if index in self.unlabelled:
            raise ImageError("expected a label, got an empty cell")
        content = self.cells[index].as_py()
        if content is None:
            raise ImageError("expected the bytes of an image, got an empty cell")
        return content


def open_parquet(root: Path, options: OpenOptions) -> Source:
    """Open a parquet set, in memory up to `MEMORY_BYTES`; see `sources.open_source`."""
    paths = find_tables(root, options.split)
    if not paths:
        check_named_split(root, options.split)
        found = [str(path.relative_to(root)) for path in sorted(root.rglob("*.parquet"))]
        forms = " or ".join(
            f"{options.split}{end}" for end in (".parquet", "-*.parquet", "/*.parquet")
        )
        raise missing_split(root, options.split, forms, found)
    reading = options.geometry.reading
    images = (reading.image_column,) if reading.image_column else IMAGE_COLUMNS
    columns = (reading.label_column,) if reading.label_column else LABEL_COLUMNS
    found = () if root.is_file() else (find_tables(root, split) for split in SERVING)
    others = [tables for tables in found if tables and tables != paths]
    train = () if root.is_file() else find_tables(root, "train")
    read = {path: _load_labels(path, columns) for each in (paths, *others) for path in each}
    known = _known_names([read[path] for path in train or paths])
    where = str(paths[0] if len(paths) == 1 else paths[0].parent)
    empty = np.concatenate([read[path].is_empty for path in paths])
    if options.on_error == "raise":
        for path in paths:
            _refuse_empty(read[path], path)
    labels = np.concatenate([_number(read[path], path, known) for path in paths])
    items = load_images(paths, image_columns=images)
    items = replace(items, unlabelled=frozenset(np.flatnonzero(empty).tolist()))
    labels = check_labels(
        labels,
        len(items),
        num_classes=len(known),
        where=where,
        hint=f"the schema names {len(known)} classes",
    )
    every = np.concatenate([each.labels[~each.is_empty] for each in read.values()])
    return build_source(items, labels, known or number_classes(every, where=where), options)


def find_tables(root: Path, split: str, *, extra: Sequence[str] = ()) -> tuple[Path, ...]:
    """Find the parquet files of a split: one file, or the shards in order; none if there are none.

    Args:
        root: A file, or a folder with ``train.parquet``, ``train-*.parquet`` or
            ``train/*.parquet`` in it, or in ``data/``, ``plain_text/``, ``default/`` or the only
            other folder with such files.
        extra: Folders to look in instead of any other.
    """
    if root.is_file():
        check_named_split(root, split)
        return (root,)
    if not root.is_dir():
        return ()
    for folder in (*CONTAINERS, *extra):
        if found := _find_in(root / folder, split):
            return found
    if extra:
        return ()
    below = [name for name in FolderTree(root).folders() if not split_kind(name)[0]]
    configurations = {name: found for name in below if (found := _find_in(root / name, split))}
    if len(configurations) > 1:
        raise RunError(
            f"{root} holds several sets of parquet files: {', '.join(configurations)}; name one, "
            f"such as {root / next(iter(configurations))}"
        )
    if configurations:
        return next(iter(configurations.values()))
    here = _list_tables(root)
    if any(_kind(path) for path in here) or not serves(root.name, split):
        return ()
    check_shards(here)
    return tuple(here)


def _find_in(folder: Path, split: str) -> tuple[Path, ...]:
    """The parquet files of a split right in a folder, or in the folder of the split in it."""
    if not folder.is_dir():
        return ()
    here, folders = _list_tables(folder), FolderTree(folder).folders()
    for kind in SERVING[split]:
        named = [path for path in here if _kind(path) == kind]
        whole = [path for path in named if is_split(path.stem)]
        inner = [_list_tables(folder / name) for name in folders if split_kind(name) == (kind, "")]
        if found := whole[:1] or named or next(filter(None, inner), []):
            check_shards(found)
            return tuple(found)
    return ()


def _list_tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not is_hidden(path.name))


def _kind(path: Path) -> str:
    """The split that the first word of a file's name says; may be empty."""
    word = re.split("[-_.]", path.stem)[0]
    return split_kind(word)[0] if is_split(word) else ""


def load_images(
    paths: Sequence[Path], *, image_columns: Sequence[str] = IMAGE_COLUMNS, hint: str = ""
) -> TableItems:
    """Read the images of parquet files."""
    name = _find_column(_load_schema(paths[0]), image_columns, "image", paths[0], hint)
    is_large = sum(path.stat().st_size for path in paths) > MEMORY_BYTES
    parts = [_image_cells(_load_column(path, name, is_large=is_large), path) for path in paths]
    return TableItems(
        cells=_join_columns(parts, paths),
        paths=tuple(map(str, paths)),
        starts=np.cumsum([0, *map(len, parts[:-1])]),
        is_large=is_large,
        column=name,
    )


def _reload(paths: Sequence[str], column: str) -> TableItems:
    return load_images([Path(path) for path in paths], image_columns=(column,))


class _Labels(NamedTuple):
    """The labels of a file, and the names of its classes; none if the schema has no names."""

    labels: Labels
    class_names: tuple[str, ...]
    is_text: bool  # whether the labels are stored as names
    is_empty: Bool[np.ndarray, " image"]  # whether a cell is empty, and its label the first class


def _refuse_empty(read: _Labels, path: Path) -> None:
    if read.is_empty.any():
        raise RunError(
            f"{path}: {int(read.is_empty.sum())} of {len(read.is_empty)} labels are empty cells, "
            f"first in row {int(read.is_empty.argmax())}; fill them in, or leave these images out "
            "with --on-error skip (on_error='skip')"
        )


def load_labels(
    paths: Sequence[Path], known: Sequence[str], *, label_columns: Sequence[str], hint: str = ""
) -> Labels:
    """Read the labels of parquet files, as numbers of the known classes where files name them."""
    found = []
    for path in paths:
        read = _load_labels(path, label_columns, hint)
        _refuse_empty(read, path)
        found.append(_number(read, path, known))
    return np.concatenate(found)


def load_label_sets(paths: Sequence[Path], column: str) -> tuple[frozenset[int], ...]:
    """Read the labels of images that may have several: lists of whole numbers, or one each."""
    found: list[frozenset[int]] = []
    for path in paths:
        _find_column(_load_schema(path), (column,), "label", path, "")
        from pyarrow import types

        values = _load_column(path, column)
        is_list = types.is_list(values.type) or types.is_large_list(values.type)
        if not types.is_integer(values.type.value_type if is_list else values.type):
            raise RunError(
                f"{path}: expected whole numbers or lists of them in column {column!r}, got "
                f"{values.type}"
            )
        for value in values.to_pylist():
            found.append(frozenset(value or ()) if is_list else frozenset({value} - {None}))
    return tuple(found)


def _load_labels(path: Path, label_columns: Sequence[str], hint: str = "") -> _Labels:
    schema = _load_schema(path)
    from pyarrow import types

    label = _find_column(schema, label_columns, "label", path, hint)
    values = _load_column(path, label)
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    is_text = types.is_string(values.type) or types.is_large_string(values.type)
    if not (types.is_integer(values.type) or is_text) or 0 < values.null_count == len(values):
        raise RunError(
            f"{path}: expected whole numbers in column {label!r}, got {values.type} with "
            f"{values.null_count} empty cells; names as text serve too"
        )
    is_empty = values.is_null().to_numpy().astype(bool)
    if not is_text:
        numbers = values.fill_null(0).to_numpy().astype(np.int64)
        return _Labels(numbers, _class_names(schema, label, path), False, is_empty)
    words = values.to_pylist()
    names = order_classes(word for word in words if word is not None)
    index: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    return _Labels(
        np.array([index.get(word, 0) for word in words], np.int64), names, True, is_empty
    )


def _known_names(read: Sequence[_Labels]) -> tuple[str, ...]:
    """The classes of the training files: all that are stored as text, or those of the first."""
    if any(each.is_text for each in read):
        return order_classes(name for each in read for name in each.class_names)
    return read[0].class_names


def _number(read: _Labels, path: Path, known: Sequence[str]) -> Labels:
    """Labels as the numbers of the known classes, by the names that the file gives them."""
    names = read.class_names
    if not names or not known or names == tuple(known):
        return read.labels
    check_classes(names, known, where=path, whose="the training files")
    labels = check_labels(read.labels, len(read.labels), num_classes=len(names), where=str(path))
    index = index_classes(known, where=str(path))
    return np.array([index[compose(name)] for name in names], np.int64)[labels]


def _find_column(schema: Any, names: Sequence[str], what: str, path: Path, hint: str) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise RunError(
        f"{path}: expected the {what} column {' or '.join(names[:2])}, "
        f"got columns {', '.join(schema.names) or 'none'}; "
        + (hint or f"name it with --{what}-column ({what}_column)")
    )


def _image_cells(column: Any, path: Path) -> Any:
    """The binary cells of an image column: the column itself or the field ``bytes`` of it."""
    from pyarrow import types

    kind = column.type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = column.flatten()[kind.get_field_index("bytes")]
    if not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        raise RunError(
            f"{path}: expected images as binary or struct{{bytes, path}}, got {kind}; store whole "
            "image files (JPEG, PNG) in the cells"
        )
    return column


def _class_names(schema: Any, label: str, path: Path) -> tuple[str, ...]:
    """Names from the ClassLabel feature that the `datasets` library writes into the schema."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return ()
    try:
        feature = json.loads(text).get("info", {}).get("features", {}).get(label, {})
        names = feature.get("names")
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path}: the schema's 'huggingface' metadata is broken: {error}") from error
    return tuple(str(name) for name in names or ())
