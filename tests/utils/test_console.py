"""What reaches the terminal: names that are not ours, printed literally and harmlessly."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from rich.table import Table

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
