"""Trains in forks of one process that has imported everything, so that runs start within a second.

    python nursery.py

Reads lines of JSON from stdin, {"config": ..., "overrides": [...], "folder": ...}; for each it forks a process that
trains, prints its number, and prints how it ended: its exit code, or minus the signal.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from mobilenet_tf import workflow
from mobilenet_tf.training import train as _  # noqa: F401 - what takes longest to import
from mobilenet_tf.utils.errors import UserError

for name in ("classification", "detection", "segmentation", "attributes", "embedding"):
    workflow.find_task(name)


def train(job: dict) -> int:
    """Trains in this process and returns the exit code of the command line."""
    sink = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    try:
        workflow.train_run(job["config"], job["overrides"], Path(job["folder"]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = train(json.loads(line))
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
