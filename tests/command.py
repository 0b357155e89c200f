"""The command line, called in the process of a test."""

import sys

from mobilenet_tf import cli


def call(capsys, *arguments):
    """(exit code, stdout, stderr) of the command line in this process."""
    sys.argv = ["mobilenet-tf", *map(str, arguments)]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err
