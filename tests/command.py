"""The command line, called in the process of a test or in one without TensorFlow."""

import json
import subprocess
import sys

from mobilenet_tf import cli

WITHOUT = ("tensorflow", "keras", "matplotlib", "onnx")
RUN = f"import sys\nsys.modules |= dict.fromkeys({WITHOUT})\nfrom mobilenet_tf import cli\ncli.main()"


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


def predict_without_tensorflow(*arguments):
    """The rows of `predict` where neither TensorFlow nor Keras can be imported, nor what else is slow."""
    command = [sys.executable, "-c", RUN, "predict", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
