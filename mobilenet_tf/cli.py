"""The command line. TensorFlow is imported by the commands that need it, once their arguments have been checked."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings

import typer

from mobilenet_tf.commands import about, deployment, learning, trial
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError

COMMANDS = {
    "demo": learning.demo,
    "check-data": learning.check_data,
    "train": learning.train,
    "evaluate": learning.evaluate,
    "export": deployment.export,
    "import": deployment.import_model,
    "prune": learning.prune,
    "predict": deployment.predict,
    "try": trial.try_model,
    "benchmark": deployment.benchmark,
    "inspect": deployment.inspect,
    "cost": about.cost,
    "doctor": about.doctor,
}
OF_CONFIGS = {"list": about.list_configs, "show": about.show_config, "keys": about.config_keys}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train, evaluate and export MobileNets.",
)
configs_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List or show the configs that come with the package."
)
app.add_typer(configs_app, name="configs")
for typer_app, commands in ((app, COMMANDS), (configs_app, OF_CONFIGS)):
    for name, function in commands.items():
        typer_app.command(name)(function)


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):  # letters that the terminal lacks are printed as escapes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(100_000, 50, 100)  # garbage collection of traced networks took a seventh of the start-up time
    warnings.formatwarning = lambda message, *_, **__: f"warning: {readable(message)}\n"
    # What Pillow warns of, such as damaged EXIF data, is no reason to stop, or told by an error of our own
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except UserError as error:
        print(f"error: {readable(error)}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:  # beside the packages of requirements-runtime.txt alone
        package = (error.name or "").partition(".")[0]
        if package in ("", "mobilenet_tf"):
            raise
        print(f"error: this needs {package}, which is not installed: pip install mobilenet-tf", file=sys.stderr)
        sys.exit(2)
