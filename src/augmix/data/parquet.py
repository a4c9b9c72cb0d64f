"""Parquet tables in the layout of the Hugging Face Hub.

Rows of parquet files cannot be read at random: a whole group of them is decompressed for each. So
the images of a large set are copied to Arrow files in the user's cache folder, which are mapped
into memory: they take about the disk space of the set.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from augmix.data.decode import ImageError
from augmix.data.folders import check_named_split, check_shards, missing_split
from augmix.data.stores import (
    ImageFiles,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_labels,
    number_classes,
)
from augmix.data.trees import SPLIT_NAMES
from augmix.errors import RunError
from augmix.files import cache_folder, file_key, open_atomic

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
_FOLDERS = ("", "data", "plain_text", "default")
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
    try:
        import pyarrow
    except ImportError as error:
        raise RunError(
            "reading parquet needs pyarrow, which is not installed: pip install 'augmix[parquet]'"
        ) from error
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

    def __len__(self) -> int:
        return len(self.cells)

    def where(self, index: int) -> str:
        file = int(np.searchsorted(self.starts, index, side="right")) - 1
        return f"{self.paths[file]}, row {index - int(self.starts[file])}"

    def digest(self, rows: np.ndarray) -> str:
        """Hash the images; where they are mapped, how many bytes each has."""
        if self.is_large:
            from pyarrow import compute

            measure: Any = compute
            sizes = measure.binary_length(self.cells).to_numpy()
            return hashlib.sha256(sizes[rows].astype("<i8").tobytes()).hexdigest()
        hasher = hashlib.sha256()
        for row in rows:
            content = self.content(int(row))
            hasher.update(len(content).to_bytes(8, "little"))
            hasher.update(content)
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        content = self.cells[index].as_py()
        if content is None:
            raise ImageError("expected the bytes of an image, got an empty cell")
        return content


def open_parquet(root: Path, options: OpenOptions) -> Source:
    """Open a parquet set, in memory up to `MEMORY_BYTES`; see `sources.open_source`."""
    paths = find_tables(root, options.split)
    if not paths:
        found = [str(path.relative_to(root)) for path in sorted(root.rglob("*.parquet"))]
        forms = f"{options.split}.parquet or {options.split}-*.parquet"
        raise missing_split(root, options.split, forms, found)
    items, labels, names = load_table(paths, label_columns=LABEL_COLUMNS)
    where = str(paths[0] if len(paths) == 1 else paths[0].parent)
    labels = check_labels(
        labels,
        len(items),
        num_classes=len(names or ()),
        where=where,
        hint=f"the schema names {len(names or ())} classes",
    )
    if names is None:
        names = number_classes(_all_labels(root, paths, labels), where=where)
    return build_source(items, labels, names, options)


def find_tables(root: Path, split: str, *, extra: Sequence[str] = ()) -> tuple[Path, ...]:
    """Find the parquet files of a split: one file, or the shards in order; none if there are none.

    Args:
        root: A file, or a folder with ``train.parquet`` or ``train-*.parquet`` in it, below
            ``data/``, ``plain_text/`` or ``default/``.
        extra: More folders to look in.
    """
    if root.is_file():
        check_named_split(root, split)
        return (root,)
    for folder in (*_FOLDERS, *extra):
        for name in SPLIT_NAMES[split]:
            whole = root / folder / f"{name}.parquet"
            if whole.is_file():
                return (whole,)
            shards = tuple(sorted((root / folder).glob(f"{name}-*.parquet")))
            if shards:
                check_shards(shards)
                return shards
    return ()


def load_table(
    paths: Sequence[Path], *, label_columns: Sequence[str], hint: str = ""
) -> tuple[TableItems, Labels, tuple[str, ...] | None]:
    """Read images, labels and class names of parquet files; None if the schema has no names."""
    image = _find_column(_load_schema(paths[0]), IMAGE_COLUMNS, "image", paths[0], hint)
    labels, names = _load_labels(paths, label_columns, hint)
    is_large = sum(path.stat().st_size for path in paths) > MEMORY_BYTES
    parts = [_image_cells(_load_column(path, image, is_large=is_large), path) for path in paths]
    items = TableItems(
        cells=_join_columns(parts, paths),
        paths=tuple(map(str, paths)),
        starts=np.cumsum([0, *map(len, parts[:-1])]),
        is_large=is_large,
    )
    return items, labels, names


def _load_labels(
    paths: Sequence[Path], label_columns: Sequence[str], hint: str = ""
) -> tuple[Labels, tuple[str, ...] | None]:
    from pyarrow import types

    schema = _load_schema(paths[0])
    label = _find_column(schema, label_columns, "label", paths[0], hint)
    values = _join_columns([_load_column(path, label) for path in paths], paths)
    if not types.is_integer(values.type) or values.null_count:
        raise RunError(
            f"{paths[0]}: expected whole numbers in column {label!r}, got {values.type} with "
            f"{values.null_count} empty cells"
        )
    return values.to_numpy().astype(np.int64), _class_names(schema, label, paths[0])


def _find_column(schema: Any, names: Sequence[str], what: str, path: Path, hint: str) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise RunError(
        f"{path}: expected the {what} column {' or '.join(names)}, "
        f"got columns {', '.join(schema.names) or 'none'}" + (f"; {hint}" if hint else "")
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


def _class_names(schema: Any, label: str, path: Path) -> tuple[str, ...] | None:
    """Names from the ClassLabel feature that the `datasets` library writes into the schema."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        feature = json.loads(text).get("info", {}).get("features", {}).get(label, {})
        names = feature.get("names")
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path}: the schema's 'huggingface' metadata is broken: {error}") from error
    return tuple(str(name) for name in names) if names else None


def _all_labels(root: Path, paths: Sequence[Path], labels: Labels) -> Int64[np.ndarray, " all"]:
    """The labels of every split, so that each split counts the same classes."""
    if root.is_file():
        return labels
    found = (find_tables(root, split) for split in SPLIT_NAMES)
    others = [tables for tables in found if tables and tables != tuple(paths)]
    return np.concatenate([labels, *(_load_labels(each, LABEL_COLUMNS)[0] for each in others)])
