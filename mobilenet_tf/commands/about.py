"""Commands that only tell: cost, configs, doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mobilenet_tf.commands import options, printing
from mobilenet_tf.commands.options import (
    ConfigName,
    Json,
    Overrides,
)
from mobilenet_tf.utils.console import print_table


def cost(
    network: Annotated[str, typer.Argument(help="The name of a backbone, such as mobilenet_v2, or a .keras file.")],
    alpha: Annotated[float, typer.Option(min=0.01, help="Width multiplier.")] = 1.0,
    size: Annotated[str, typer.Option(help="Input size in pixels: 224, or HEIGHTxWIDTH such as 224x320.")] = "224",
    layers: Annotated[bool, typer.Option(help="List every layer, not only types and totals.")] = False,
    full_convolutions: Annotated[
        bool, typer.Option(help="For V1: replace the depthwise separable convolutions by full ones.")
    ] = False,
    formulas: Annotated[
        str | None, typer.Option(help="Also compare four designs of one layer, given as KERNEL,IN,OUT,SIZE.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a plot of the cost by width and resolution to this file.")
    ] = None,
    as_json: Json = False,
):
    """Count parameters and multiply-adds per layer, per type and in total."""
    pixels = options.numbers(size, "x", "--size", (1, 2))
    values = options.numbers(formulas, ",", "--formulas", (4,)) if formulas else None
    is_file = Path(network).suffix == ".keras"
    if not is_file:
        from mobilenet_tf.models import specs

        specs.find(network)
    from mobilenet_tf.analysis import cost as costs
    from mobilenet_tf.inference.predict import load_keras

    image = (pixels[0], pixels[-1])
    if is_file:
        result = costs.cost(load_keras(network), image)
    else:
        result = costs.net_cost(network, alpha, image, full_convolutions)
    rows = costs.layer_formulas(*values) if values else []
    if plot:
        costs.plot_grid(plot, "mobilenet_v1" if is_file else network)
    if as_json:
        printing.print_json(result.to_dict() | ({"formulas": [asdict(row) for row in rows]} if rows else {}))
    else:
        print_table(costs.table(result, by_layer=layers))
        if rows:
            print_table(costs.formula_table(rows))


def list_configs(as_json: Json = False):
    """List the configs that come with the package, each with its first comment line."""
    from mobilenet_tf import config

    rows = [
        {"name": name, "about": path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")}
        for name, path in config.shipped().items()
    ]
    printing.print_json(rows) if as_json else printing.print_rows(rows)


def show_config(
    name: ConfigName,
    overrides: Overrides = None,
    as_json: Json = False,
):
    """Print a config with all default values, as a run folder stores it."""
    import yaml

    from mobilenet_tf import config

    values, is_complete = config.preview(name, overrides or ())
    if as_json:
        printing.print_json(values)
        return
    as_is = (sys.stdout.encoding or "").lower().startswith("utf")  # YAML has escapes of its own for other letters
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=as_is)
    if not is_complete:
        text = text.replace("\n  root: null\n", "\n  root: null  # required: data.root=PATH\n", 1)
    print(text, end="")


def config_keys(
    task: Annotated[str, typer.Argument(help="The name of a task, such as classification.")],
    as_json: Json = False,
):
    """Print every key that the configs of a task may have: what it holds, its default, what it is for."""
    from mobilenet_tf import config
    from mobilenet_tf.config_keys import rows

    found = [{name: text.replace("`", "") for name, text in asdict(row).items()} for row in rows(config.schema(task))]
    if as_json:
        printing.print_json(found)
    elif not sys.stdout.isatty():
        printing.print_rows(found)
    else:
        printing.print_entries(
            (f"{row['key']}: {row['values']} = {row['default']}", row["description"]) for row in found
        )


def doctor(as_json: Json = False):
    """Show versions, devices, optional packages and threads."""
    from mobilenet_tf.doctor import examine

    values = examine()
    rows = [{"what": key, "found": str(value)} for key, value in values.items()]
    printing.print_json(values) if as_json else printing.print_rows(rows)
