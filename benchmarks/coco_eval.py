"""COCO's evaluation by pycocotools and hotcoco on 5,000 images with 100 detections each: time, agreement.

    python benchmarks/coco_eval.py [--images 5000] [--detections 100]

Boxes are made up: about 7 objects an image in 80 classes of COCO's frequencies, detections near them and elsewhere.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mobilenet_tf.tasks.detection import scoring
from mobilenet_tf.utils.errors import UserError


def made_up(images: int, detections: int, classes: int = 80, seed: int = 0) -> tuple[dict, list[dict]]:
    """Returns (ground truth in COCO's structure, results)."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, classes + 1)
    frequency /= frequency.sum()
    annotations, results = [], []
    for image in range(1, images + 1):
        count = rng.poisson(7)
        labels = rng.choice(classes, count, p=frequency) + 1
        sizes = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
        boxes = np.concatenate([rng.uniform(0, 640 - sizes), sizes], 1).round(2)
        crowds = rng.random(count) < 0.02
        for box, label, crowd in zip(boxes.tolist(), labels.tolist(), crowds.tolist(), strict=True):
            entry = {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3] * 0.7}
            annotations.append({"id": len(annotations) + 1, "iscrowd": int(crowd), **entry})
        near = rng.integers(0, max(1, count), detections)
        guesses = rng.choice(classes, detections, p=frequency) + 1
        detected = rng.uniform(5, 300, (detections, 4))
        if count:
            hit = rng.random(detections) < 0.3
            detected[hit] = (boxes[near] * rng.normal(1, 0.1, (detections, 4)))[hit]
            guesses[hit] = labels[near][hit]
        scores = rng.random(detections)
        for box, label, score in zip(detected.round(2).tolist(), guesses.tolist(), scores.tolist(), strict=True):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": round(score, 4)})
    truth = {
        "images": [{"id": image, "width": 640, "height": 640} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
    }
    return truth, results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    arguments = parser.parse_args()
    truth, results = made_up(arguments.images, arguments.detections)
    print(f"{arguments.images} images, {len(truth['annotations'])} boxes, {len(results)} detections")
    reference, reference_seconds = None, 0.0
    for name in scoring.BACKENDS:
        started = time.perf_counter()
        try:
            scores = scoring.coco_scores(truth, results, backend=name)
        except UserError as error:
            print(f"{name:20} {error}")
            continue
        seconds = time.perf_counter() - started
        if reference is None:
            reference, reference_seconds = scores, seconds
        largest = max(abs(scores.numbers[key] - value) for key, value in reference.numbers.items())
        curves = np.abs(scores.precision - reference.precision).max()
        print(
            f"{name:20} {seconds:7.1f} s  {reference_seconds / seconds:5.1f} x pycocotools  "
            f"AP {scores.numbers['AP']:.6f}  "
            f"largest difference {largest:.1e}, of the curves {curves:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
