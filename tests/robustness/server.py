"""Commands in processes of their own that start at once: forked from a process that has imported everything and computed nothing.

Each line of the input is a command as a JSON list; answered are `started NUMBER` when it hears signals, and `ended CODE`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Commands:
    """Starts commands of `deltaspace`, and tells how they ended.

    Args:
        log: what they print goes here.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.robustness.server", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, words: list[str]) -> int:
        """Start a command; the number of its process."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(words) + "\n")
        self._server.stdin.flush()
        return int(self._answer("started"))

    def wait(self) -> int:
        """The exit code of what was started last; of a signal that killed it, its number below zero."""
        return int(self._answer("ended"))

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def _answer(self, wanted: str) -> str:
        assert self._server.stdout is not None
        word, _, rest = self._server.stdout.readline().partition(" ")
        assert word == wanted, (word, rest, self.log.read_text())
        return rest


def _command(words: list[str], log: str) -> None:
    """In the child: run the command line, and never come back."""
    from deltaspace.cli import main
    from deltaspace.interruption import Interrupted, interruptible

    code, ended = 1, False
    try:
        with interruptible():
            print(f"started {os.getpid()}", flush=True)
            target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, 1)
            os.dup2(target, 2)
            sys.argv = ["deltaspace", *words]
            try:
                main()
            except SystemExit as said:
                code, ended = int(said.code or 0), True
    except Interrupted as interrupted:  # beside the command
        code = code if ended else 128 + interrupted.signal
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(log: str) -> None:
    import matplotlib.pyplot
    import peft
    import torch

    import deltaspace.cli.application
    import deltaspace.report
    import deltaspace.study
    from deltaspace.training import loop

    assert matplotlib.pyplot and peft and deltaspace.cli.application and deltaspace.report and deltaspace.study
    torch.set_num_threads(1)
    # States of trainings are written at each evaluation, so that kills meet them.
    loop._SAVE_SECONDS = -1.0
    assert threading.active_count() == 1
    for line in sys.stdin:
        words = json.loads(line)
        child = os.fork()
        if child == 0:
            _command(words, log)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve(sys.argv[1])
