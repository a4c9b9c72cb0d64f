"""Measured rows beside the published ones of Tables 1-4 and of C-bar, each marked as such.

CIFAR has plain means, ImageNet corruption errors divided by AlexNet's; both only for the complete
benchmark. Published numbers come from other training runs, on the official files.
"""

from augmix import published
from augmix.report.comparison import Comparison, Group
from augmix.report.estimates import METRICS, Key, Scope, readable, short
from augmix.report.load import BAR
from augmix.report.tables import Column, Entry, Row, Table, group_row, plain, shown

_NETWORKS = ("AllConv", "DenseNet", "WideResNet", "ResNeXt")
_NAMES = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}


def literature_tables(comparison: Comparison) -> list[Table]:
    """Make the tables of the paper again, where the measured set is the paper's."""
    source = str(comparison.runs[0].results.source.get("name") or "")
    if comparison.unlike:
        return []
    tables = []
    if source in _NAMES and comparison.grid.is_complete:
        tables.append(_cifar_table(comparison, source))
    for table, metric, part, whole in (
        (published.TABLE_2, "ce", Scope.CORRUPTION, Scope.CORRUPTED),
        (published.TABLE_3, "fr", Scope.PERTURBATION, Scope.PERTURBED),
    ):
        if comparison.has(Key(metric, whole)):
            tables.append(_imagenet_table(comparison, table, metric, part, whole))
    data = "imagenet" if comparison.is_alexnet else source
    names = published.BAR_NAMES.get(data, ())
    if names and set(names) == set(comparison.grid.bar) and _has_five(comparison):
        tables.append(_bar_table(comparison, data, names))
    return tables


def _has_five(comparison: Comparison) -> bool:
    """Whether C-bar was measured at all five severities."""
    cells = [cell for run in comparison.runs for cell in run.results.cells if cell.suite == BAR]
    return {cell.severity for cell in cells} == {1, 2, 3, 4, 5}


def _bar_table(comparison: Comparison, data: str, names: tuple[str, ...]) -> Table:
    keys = [*(Key("error", Scope.CORRUPTION, name) for name in names), Key("error", Scope.BAR)]
    rows = []
    for row in published.BAR_ROWS:
        if row.data == data:
            printed = [*((row.cells or {}).get(name) for name in names), row.mean]
            entries = tuple(plain(None if each is None else each / 100) for each in printed)
            label = published.LABELS[row.method]
            rows.append(Row(label=label, kind="published", entries=entries))
    rows += [
        group_row(index, group, [shown(group.number(key)) for key in keys])
        for index, group in enumerate(comparison.groups)
    ]
    network = {"cifar10": "CIFAR-10-C-bar, WRN-40-2", "imagenet": "ImageNet-C-bar, ResNet-50"}[data]
    return Table(
        name="literature-bar",
        title=f"{network.partition(',')[0]}: error by corruption",
        unit="%, mean over 5 severities, not divided by AlexNet's",
        corner="Method",
        columns=tuple(Column(title=title) for title in [*map(readable, names), "Mean"]),
        rows=tuple(rows),
        note=f"Published: Mintun et al. (2021), {network}, files of theirs that cannot be made "
        f"again. Measured here: {_described(comparison, 'official_bar')}.",
    )


def _cifar_table(comparison: Comparison, source: str) -> Table:
    """Tables 1 and 4: methods in rows; networks in columns, measured ones last."""
    names = list(dict.fromkeys(group.first.network for group in comparison.groups))
    columns = [
        *(Column(title=network, unit="%", group="Published") for network in _NETWORKS),
        *(Column(title=name, unit="%", group="Measured here") for name in names),
    ]
    rows, taken = [], set()
    for method, values in _printed(source).items():
        own = [group for group in comparison.groups if _is_of(group, method, comparison)]
        taken |= {id(group) for group in own}
        entries = (*map(plain, values), *_own(own, names))
        label = published.LABELS.get(method) or published.LATER_LABELS[method]
        rows.append(Row(label=label, kind="published", entries=entries))
    blank = [plain(None)] * len(_NETWORKS)
    rows += [
        group_row(index, group, [*blank, *_own([group], names)])
        for index, group in enumerate(comparison.groups)
        if id(group) not in taken
    ]
    return Table(
        name="literature-cifar",
        title=f"{_NAMES[source]}: mean error over 15 corruptions",
        unit="%",
        corner="Method",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Published: Tables 1 and 4 of Hendrycks et al. (2020), networks as named there; with "
        "a year: later methods, 200 epochs, by Yucel et al. (2023) and Wang et al. (2021). "
        f"Official {_NAMES[source]} files. Measured here: {_described(comparison)}. Errors are "
        "plain means, not divided by any baseline.",
    )


def _printed(source: str) -> dict[str, list[float | None]]:
    """Published means as fractions by method and network; Table 4 adds WideResNet's ablation.

    Methods later than the paper are in it where they were measured on its networks.
    """
    found: dict[str, list[float | None]] = {}
    for table in (published.TABLE_1, published.TABLE_4):
        for row in table.rows:
            if row.data == source and row.network in _NETWORKS:
                values = found.setdefault(row.method, [None] * len(_NETWORKS))
                values[_NETWORKS.index(row.network)] = row.mean / 100
    for row in published.LATER_ROWS:
        network = published.LATER_NETWORKS.get(row.network)
        if row.data == source and network in _NETWORKS:
            values = found.setdefault(row.method, [None] * len(_NETWORKS))
            values[_NETWORKS.index(network)] = row.corrupted / 100
    return found


def _is_of(group: Group, method: str, comparison: Comparison) -> bool:
    """Whether a row is the method as published: not adapted, no ensemble, and the only one."""
    first = group.first
    if first.method != method or first.adaptation or first.results.model.get("members"):
        return False
    others = [each.first for each in comparison.groups if not each.first.adaptation]
    models = [(other.method, other.network) for other in others]
    return models.count((method, first.network)) == 1


def _own(groups: list[Group], names: list[str]) -> list[Entry]:
    key = Key("error", Scope.BENCHMARK)
    numbers = {group.first.network: group.number(key) for group in groups}
    return [shown(numbers.get(name)) for name in names]


def _imagenet_table(
    comparison: Comparison, table: published.Table, metric: str, part: str, whole: str
) -> Table:
    """Tables 2 and 3: clean error, each cell divided by AlexNet's, and their mean."""
    names = list(table.rows[0].cells or ())
    parts = [Key(metric, part, name) for name in names]
    keys = [Key("error", Scope.CLEAN), *parts, Key(metric, whole)]
    decimals = [1, *[0] * len(names), 1]
    titles = ["Clean", *map(short, names)]
    rows = []
    for row in table.rows:
        printed = [row.clean, *((row.cells or {})[name] for name in names), row.mean]
        entries = [
            plain(None if value is None else value / 100, decimals=digits)
            for value, digits in zip(printed, decimals, strict=True)
        ]
        label = published.LABELS[row.method]
        rows.append(Row(label=label, kind="published", entries=tuple(entries)))
    for index, group in enumerate(comparison.groups):
        cells = zip(map(group.number, keys), decimals, strict=True)
        entries = [shown(number, decimals=digits) for number, digits in cells]
        rows.append(group_row(index, group, entries))
    return Table(
        name=f"literature-{table.number}",
        title=f"{table.title}: {table.quantity}",
        unit="%",
        corner="Method",
        columns=tuple(Column(title=title) for title in [*titles, METRICS[metric].heading]),
        rows=tuple(rows),
        note=f"Published: Table {table.number} of Hendrycks et al. (2020), ResNet-50, official "
        f"{table.title} files. Measured here: {_described(comparison)}; AlexNet's numbers are of "
        "the 50,000 validation images of 1,000 classes.",
    )


def _described(comparison: Comparison, official: str = "official_c") -> str:
    """Describe data and origin of the measured numbers."""
    results = comparison.runs[0].results
    made = results.protocol.get(official) or "corrupted on the fly"
    if "preset_sha256" in results.protocol:
        made += (
            f", at severities of the file {results.protocol['preset']!r}, not the published ones"
        )
    return f"{results.source.get('name')}, {results.num_images:,} images, {made}"
