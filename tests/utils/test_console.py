"""What reaches the terminal: names that are not ours, printed literally and harmlessly."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

from mobilenet_tf.utils import console
from mobilenet_tf.utils.console import plain, readable


@pytest.mark.parametrize("name", ["photo[red].jpg", "[/]", "[bold]x", "a\\", "[link=http://x]y[/link]", "größe 2.png"])
def test_names_are_printed_as_they_are(name):
    table, out = Table(plain(name)), io.StringIO()
    table.add_row(plain(name))
    Console(file=out, width=80).print(table)
    assert out.getvalue().count(name) == 2


def test_nothing_steers_the_terminal():
    assert readable("a\x1b[31mb\r\nc\u202e") == "a\\x1b[31mb\\r\\nc\\u202e"


def test_a_logger_that_was_made_in_quiet_goes_on_working():
    """Whoever logs to the sys.stderr of the block must not write to a closed file after it."""
    code = """
import logging
from mobilenet_tf.utils.console import quiet
with quiet():
    handler = logging.StreamHandler()
    logging.getLogger("native").addHandler(handler)
    logging.getLogger("native").warning("within")
logging.getLogger("native").warning("after")
with quiet():
    logging.getLogger("native").warning("within again")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.splitlines()[:2] == ["within", "after"] and "closed file" not in result.stderr


def table(*rows, **options):
    found = Table("file", "ms, 1 thr.", "note", **options)
    for row in rows:
        found.add_row(*map(console.plain, row))
    return found


LONG = "folder/of_a_very_long_name/and_another_one/model_int8_with_weights_of_8_bits[1].tflite"


def test_a_table_fits_the_terminal_without_breaking_a_name():
    found = table(("model.tflite", "1.25", "words that are folded between them " * 3), (LONG, "2.50", "none"))
    console.fit(found, 80)
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(found)
    lines = screen.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    shown = [line for line in lines if "2.50" in line]
    assert len(shown) == 1 and "folder/of" in shown[0] and "bits[1].tflite" in shown[0] and "…" in shown[0]
    assert any("model.tflite" in line for line in lines) and sum("words that are" in line for line in lines) >= 2


def test_headers_are_folded_before_names_are_shortened():
    found = table(("a_name_of_thirty_characters.xy", "1.2", "ok"))
    console.fit(found, 52)
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(found)
    assert "a_name_of_thirty_characters.xy" in screen.export_text(clear=False)
    assert "ms, 1 thr." not in screen.export_text(clear=False)
    console.fit(found, 80)
    screen.print(found)
    assert "ms, 1 thr." in screen.export_text()


def test_a_table_in_a_pipe_has_tabs_and_nothing_shortened(capsys):
    console.print_table(table((LONG, "2.50", "a\nb"), title="Title", caption="why [not]"))
    out, err = capsys.readouterr()
    assert out == f"file\tms, 1 thr.\tnote\n{LONG}\t2.50\ta\\nb\n" and "why" in err


def test_a_footer_is_the_last_row(capsys):
    found = Table(show_footer=True)
    found.add_column("layer", footer="total")
    found.add_row("[bold]conv[/]")
    console.print_table(found)
    assert capsys.readouterr().out == "layer\nconv\ntotal\n"


NOISY = """
import os, sys, types
from importlib.machinery import ModuleSpec
from importlib.abc import Loader, MetaPathFinder
from mobilenet_tf.utils import console

class Fake(MetaPathFinder, Loader):
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name == "tensorflow" else None
    def exec_module(self, module):
        os.write(2, b"I0000 native noise\\n")
        print("said by Python", file=sys.stderr)
        look = lambda: os.write(2, b"failed call to cuInit\\n")
        module.config = types.SimpleNamespace(list_physical_devices=look)

sys.meta_path.insert(0, Fake())
console.import_tensorflow_quietly()
console.import_tensorflow_quietly()
import tensorflow
os.write(2, b"later\\n")
print(repr(console.held_back()))
"""


def test_the_import_of_tensorflow_is_quiet_and_what_it_said_is_kept():
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True)
    assert done.stderr.splitlines() == ["said by Python", "later"]
    assert done.stdout == repr("I0000 native noise\nfailed call to cuInit\n") + "\n"
