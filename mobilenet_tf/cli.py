"""The command line. TensorFlow is imported by the commands that need it, once their arguments have been checked."""

from __future__ import annotations

import difflib
import gc
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mobilenet_tf import config_aliases
from mobilenet_tf.commands import about, deployment, learning, trial
from mobilenet_tf.utils import console, files
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, which Typer has within itself since 0.28

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
OTHER_NAMES = {"val": learning.evaluate}  # which the help does not list
OF_CONFIGS = {"list": about.list_configs, "show": about.show_config, "keys": about.config_keys}
EXAMPLES = {  # of commands whose arguments are missing
    "train": (
        "train demo                              a minute on drawn images",
        "train folder_v2 data.root=IMAGES        on a folder of images, IMAGES/<class>/*.jpg",
        "train ssdlite_boxes data.root=BOXES     on images with boxes",
        "configs list                            all configs",
    ),
    "check-data": ("check-data folder_v2 data.root=IMAGES", "configs list                  all configs"),
    "evaluate": ("evaluate runs/folder_v2", "evaluate model.tflite --split validation"),
    "export": ("export runs/folder_v2", "export runs/folder_v2 --formats tflite,tflite_int8"),
    "predict": ("predict runs/folder_v2 photo.jpg", "predict model.tflite images/ --images drawn"),
    "cost": ("cost mobilenet_v2", "cost mobilenet_v3_large --size 320"),
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
configs_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List or show the configs that come with the package."
)
app.add_typer(configs_app, name="configs")
for typer_app, commands in ((app, COMMANDS), (configs_app, OF_CONFIGS)):
    for name, function in commands.items():
        typer_app.command(name)(function)
for name, function in OTHER_NAMES.items():
    app.command(name, hidden=True)(function)


def _print_versions(is_asked: bool) -> None:
    if is_asked:
        from mobilenet_tf.doctor import versions

        print(versions())
        raise typer.Exit()


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Train, evaluate and export MobileNets."""


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
    console.import_tensorflow_quietly()
    try:
        _check_local(sys.argv[1:])
        code = typer.main.get_command(app).main(prog_name="mobilenet-tf", standalone_mode=False)
    except UsageError as error:
        _explain(error)
        code = error.exit_code
    except UserError as error:
        print(f"error: {readable(error)}", file=sys.stderr)
        code = 2
    except ModuleNotFoundError as error:  # beside the packages of requirements-runtime.txt alone
        package = (error.name or "").partition(".")[0]
        if package in ("", "mobilenet_tf"):
            raise
        print(f"error: this needs {package}, which is not installed: pip install mobilenet-tf", file=sys.stderr)
        code = 2
    except Exception:
        print(console.held_back(), end="", file=sys.stderr)  # it may say why
        raise
    if code:
        sys.exit(code)


def _explain(error: Any) -> None:
    """Prints what is wrong with the arguments, and what would be right."""
    command = error.ctx.info_name if error.ctx else None
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.ctx.get_help())
        return
    message = error.format_message().rstrip(".")
    option = getattr(error, "option_name", "") if type(error).__name__ == "NoSuchOption" else ""
    name = option.lstrip("-")
    if "." in name or name in config_aliases.NAMES:
        message += f": values of the config are given without dashes, as {name}=VALUE"
    elif message.startswith("No such command"):
        given = message.split("'")[1]
        near = difflib.get_close_matches(given, (*COMMANDS, *OTHER_NAMES, "configs"), n=3, cutoff=0.5)
        message += f" (nearest: {', '.join(near)})" if near and "Did you mean" not in message else ""
        message += "; all of them: mobilenet-tf --help"
    elif command and command not in EXAMPLES:
        message += f"; see mobilenet-tf {command} --help" if command != "mobilenet-tf" else "; see mobilenet-tf --help"
    print(f"error: {readable(message)}", file=sys.stderr)
    if message.startswith("Missing argument"):
        print(end="".join(f"  mobilenet-tf {line}\n" for line in EXAMPLES.get(command or "", ())), file=sys.stderr)


def _check_local(arguments: Sequence[str]) -> None:
    """Raises UserError for an address such as gs://bucket/model.tflite, before it is taken for a path."""
    for argument in arguments:
        if files.is_url(argument.partition("=")[2] if argument.startswith("--") else argument):
            raise UserError(
                f"files must be on this machine; copy remote ones here, or mount them as a folder. Received: {argument}"
            )
