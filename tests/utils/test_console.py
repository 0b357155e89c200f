"""What reaches the terminal: names that are not ours, printed literally and harmlessly."""

import io

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
