"""Damages the files of one subject again and again and reads them: a process of its own, for native code may crash.

    python worker.py SUBJECT SEED COUNT

Prints one line of JSON for each thing that should not be: an exception that is no UserError, a message of several
lines, a hang. The last line is a summary. A crash or a hang in native code ends the process; the last
line on stderr says where.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from subjects import SUBJECTS, Subject, mutate  # noqa: E402

from mobilenet_tf.utils.errors import UserError  # noqa: E402

HANG = 10  # seconds that reading small files may take
LONGEST = 2000  # characters of a message


def main(name: str, seed: int, count: int) -> None:
    """Fuzzes one subject and prints what is wrong."""
    subject = SUBJECTS[name]
    signal.signal(signal.SIGALRM, _hangs)
    with tempfile.TemporaryDirectory() as folder:
        good, work = Path(folder) / "good", Path(folder) / "work"
        good.mkdir()
        names = [path.relative_to(good) for path in subject.build(good)]
        originals = [(good / path).read_bytes() for path in names]
        subject.read(good)  # what is not damaged is read
        before, refused = _peak(), 0
        for number in range(count):
            shutil.copytree(good, work)
            rng = random.Random(f"{name} {seed} {number}")
            done = mutate(subject, [work / path for path in names], originals, rng)
            faulthandler.dump_traceback_later(2 * HANG, exit=True)  # in native code no signal handler runs
            refused += _attempt(subject, work, {"number": number, "done": done})
            faulthandler.cancel_dump_traceback_later()
            shutil.rmtree(work)
        print(json.dumps({"done": count, "refused": refused, "growth": _peak() - before}))


def _attempt(subject: Subject, work: Path, record: dict) -> bool:
    """Reads damaged files, prints what is wrong with that, and returns whether they were refused as they should."""
    print(json.dumps({**record, "begun": True}), file=sys.stderr, flush=True)
    signal.alarm(HANG)
    try:
        subject.read(work)
    except UserError as error:
        if "\n" in str(error) or len(str(error)) > LONGEST:
            print(json.dumps({**record, "message": str(error)[:500]}), flush=True)
        return True
    except BaseException as error:  # whatever it is: that is what is looked for
        trace = traceback.format_exception(error)
        print(json.dumps({**record, "error": f"{type(error).__name__}: {error}"[:300], "at": trace[-3:]}), flush=True)
    finally:
        signal.alarm(0)
    return False


def _hangs(*_):
    raise TimeoutError(f"over {HANG} seconds")


def _peak() -> int:
    """The most memory that the process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
