"""The wording of messages: what reaches a terminal, and which package is missing."""

import importlib
import sys
from pathlib import Path

import pytest

from augmix import cli
from augmix.errors import RunError, import_library, printable


def test_nothing_acts_on_the_terminal():
    assert printable("\x1b]0;title\x07\r\x9b1m\x00\x7f") == "\\x1b]0;title\\x07\\r\\x9b1m\\x00\\x7f"
    assert printable("a\u202eb\u2028c\udcff") == "a\\u202eb\\u2028c\\udcff"
    plain = "a\tb\nc é \u202f\u00a0\u200d 犬"  # names of screenshots and emoji stay as they are
    assert printable(plain) == plain


def test_a_message_with_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("a\x1b[31m", "b\udcff", "[/red]"):
        assert cli.main(["report", str(tmp_path / name), "--out", str(tmp_path / "x.html")]) == 2
        found = capsys.readouterr().err
        assert found.startswith("augmix: ")
        assert printable(name) in found
        assert found.count("\n") == 1
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import lacking_one", "needs f_package, which is installed but lacks lacking_one: pip in"),
        ("import numpy.nothing_there", "is installed but lacks numpy"),
        ("raise ImportError('libfoo.so: no such file')", "cannot be imported (ImportError: libfoo"),
        (
            "raise RuntimeError('built for another torch')",
            "(RuntimeError: built for another torch)",
        ),
        (None, "X needs f_package, which is not installed: pip install 'augmix[f]'"),
    ],
)
def test_a_missing_package_is_named_truly(
    source: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if source is not None:
        (tmp_path / "f_package.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "f_package", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(RunError) as caught:
        import_library("f_package", "X", "augmix[f]")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "packages"),
    [("demo", "'scikit-learn>="), ("onnx", "'onnxruntime>="), ("parquet", "'pyarrow>=")],
)
def test_a_missing_extra_is_answered_by_its_packages(extra: str, packages: str):
    with pytest.raises(RunError) as caught:
        import_library("no_such_library", "X", f"augmix[{extra}]")
    advice = str(caught.value).partition("pip install ")[2]
    assert packages in advice
    assert "augmix" not in advice  # whose name is no package of an index


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "torch, which is not inst"),
        (ImportError("cannot import name 'a'", name="numba.core"), "numba, but it cannot be imp"),
        (RuntimeError("Could not determine home directory."), "the home folder is unknown"),
        (RuntimeError("could not determine the home directory for '~/.cache'"), "set HOME"),
    ],
)
def test_what_the_machine_lacks_is_no_bug(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    def fail(words: object) -> None:
        raise error

    monkeypatch.setitem(cli.RUN, "bench", fail)
    assert cli.main(["bench"]) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.startswith("augmix: ")
    assert "Traceback" not in found


def test_a_missing_module_of_ours_is_a_bug(monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(words: object) -> None:
        raise ModuleNotFoundError("No module named 'augmix.gone'", name="augmix.gone")

    monkeypatch.setitem(cli.RUN, "bench", fail)
    assert cli.main(["bench"]) == 1
    assert "this is a bug" in capsys.readouterr().err
