"""Quantizes a float .tflite file of any origin anew, with the metadata inside, and checks that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilenet_tf.export import ai_edge, tflite_objects
from mobilenet_tf.export.convert import Images, check_finite, check_inputs, check_path, checked_calibration, progress
from mobilenet_tf.export.refinement import PERCENTILE
from mobilenet_tf.foreign.declaration import Range
from mobilenet_tf.inference import artifact, tflite_metadata
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.formats import TFLITE, InputType, find_format
from mobilenet_tf.inference.tflite import MAX_BYTES
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

FLOAT = "tflite"  # the format that is not quantized


def requantize(
    source: Path,
    path: str | Path,
    format: str,
    *,
    metadata: Metadata,
    wanted: Range,
    calibration: Images | None = None,
    inputs: InputType = "float32",
    percentile: float = PERCENTILE,
) -> Path:
    """Writes a .tflite file that takes images in 0..255, quantized to a format by ai-edge-quantizer.

    Args:
        source: a float .tflite file whose input is float32 [N, H, W, 3].
        path: the file to write. It is replaced in one step at the end.
        format: "tflite", which changes the range of the input alone, or one of `ai_edge.PRECISIONS`.
        metadata: is written into the file.
        wanted: what the source takes instead of 0..255.
        calibration, inputs, percentile: as for `convert.export`.

    Returns the path. Raises UserError for another format, a file that is quantized already, and a missing extra.
    """
    path, chosen = Path(path), find_format(format)
    if chosen.kind is not TFLITE or format not in (FLOAT, *ai_edge.PRECISIONS):
        able = ", ".join((FLOAT, *ai_edge.PRECISIONS))
        raise UserError(f"a .tflite file can become {able}; other formats need the Keras model. Received: {format}")
    if wanted.is_bgr:
        raise UserError(f"{source} must take RGB. Received: BGR, which needs the Keras model")
    check_path(path, chosen)
    check_inputs(inputs, chosen)
    batches = None if calibration is None else checked_calibration(calibration, metadata.input_size)
    scale, offset = (values[0] if len(values) == 1 else values for values in (wanted.scale, wanted.offset))
    with progress(f"export {path.name}") as say, files.replacing(path) as temporary:
        if format == FLOAT:
            content = tflite_objects.rescaled(files.read_bytes(source, MAX_BYTES), scale, offset)
        else:
            images = [image for batch in batches or () for image in batch]
            given: dict[str, Any] = {"inputs": inputs, "percentile": percentile, "say": say}
            content = ai_edge.quantize_tflite(source, format, images, scale=scale, offset=offset, **given)
        temporary.write_bytes(content)
        tflite_metadata.embed(temporary, metadata)
        artifact.write(temporary, metadata)
        say("checking the file")
        check_finite(temporary, path, metadata)
    return path
