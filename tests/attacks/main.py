"""Runs all attacks, or those whose rows are named, and counts."""

import sys
import time
import traceback

import rows
from world import World

# Importing them registers their tests. The search for secrets is last: it stops the nodes.
import transcript, authentication, proof_of_wallet, tokens, isolation, statements, listener, sockets, at_rest  # noqa: E401, F401


def main(wanted):
    passed, failed = [], []

    def run(name, function, world):
        started = time.monotonic()
        try:
            function(world)
            if not getattr(function, "stops_the_nodes", False):
                world.healthy()
            outcome = "ok"
            passed.append(name)
        except Exception as error:
            outcome = "FAILED"
            failed.append(f"{name} {function.__name__}: {error}")
            traceback.print_exc(limit=-2, file=sys.stdout)
        print(f"{name:10} {function.__name__} ... {outcome} ({time.monotonic() - started:.1f} s)", flush=True)

    chosen = [test for test in rows.tests if not wanted or test[0] in wanted]
    world = World()
    try:
        run("table", rows.the_table_and_the_tests_agree, world)
        # What only waits for time to pass begins first and is judged in its turn.
        for _, function in chosen:
            if begin := getattr(function, "begin", None):
                begin(world)
        for name, function in chosen:
            run(name, function, world)
    finally:
        world.stop()
    print()
    for line in failed:
        print(f"FAILED {line}")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
