"""The command line, called in the process of a test or in one without TensorFlow."""

import json
import subprocess
import sys

from mobilenet_tf import cli

WITHOUT = ("tensorflow", "keras", "matplotlib", "onnx")
BEFORE = f"import sys\nsys.modules |= dict.fromkeys({WITHOUT})\n"
RUN = f"{BEFORE}from mobilenet_tf import cli\ncli.main()"
PREDICT = f"""{BEFORE}import json
from pathlib import Path
from mobilenet_tf import workflow
print(json.dumps(workflow.predict_files(Path(sys.argv[1]), sys.argv[2:])))"""


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
    return json.loads(_run(PREDICT, *arguments))


def command_without_tensorflow(*arguments):
    """The stdout of a command where neither TensorFlow nor Keras can be imported, nor what else is slow."""
    return _run(RUN, *arguments)


def _run(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
