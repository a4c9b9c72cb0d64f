"""Columns of parquet files: in memory where they are small, else mapped from the disk.

Rows of parquet files cannot be read at random: a whole group of them is decompressed for each. So
the images of a large set are written once more, as Arrow files in the user's cache folder, which
take about the space of the set and none of the memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmix import records
from augmix.data.caches import cache_folder, file_key
from augmix.records import RunError

MEMORY_BYTES = 2**32  # of parquet files that are read as a whole
_ROWS = 256  # written at a time


def is_large(paths: Sequence[Path]) -> bool:
    """Whether these files are too large to be read as a whole."""
    return sum(path.stat().st_size for path in paths) > MEMORY_BYTES


def load_schema(path: Path) -> Any:
    """The Arrow schema of a parquet file.

    Raises:
        RunError: If pyarrow is missing or the file cannot be read.
    """
    with _reading(path):
        from pyarrow import parquet

        return parquet.read_schema(path)


def load_column(path: Path, name: str, *, is_large: bool = False) -> Any:
    """A column of a parquet file as an Arrow chunked array.

    Args:
        path: The file.
        name: Of the column.
        is_large: Map it from an Arrow file in the cache folder, which is made if missing.

    Raises:
        RunError: If the file cannot be read or lacks the column, or the cache folder has no room.
    """
    with _reading(path):
        import pyarrow
        from pyarrow import ipc, parquet

        if not is_large:
            return parquet.read_table(path, columns=[name])[name]
        return ipc.open_file(pyarrow.memory_map(str(_write_arrow(path, name)))).read_all()[name]


def join_columns(columns: Sequence[Any], paths: Sequence[Path]) -> Any:
    """Columns of several files as one.

    Raises:
        RunError: If they differ in type.
    """
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
    with parquet.ParquetFile(path) as file, records.open_atomic(arrow) as sink:
        wanted = file.schema_arrow.empty_table().select([name]).schema
        with ipc.new_file(sink, wanted) as writer:
            for batch in file.iter_batches(batch_size=_ROWS, columns=[name]):
                writer.write_batch(batch)
    return arrow


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of Arrow as the user's."""
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
