"""Runs schemathesis against one node of three, with a key that may do all that a key may."""

import pathlib
import subprocess
import sys

from api import Api, want
from world import World

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main(work, seconds):
    world = World()
    try:
        tenant = world.tenant()
        want(tenant.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, x)"), 200)
        tenant.put("key")
        # Reading it says that it is well-formed.
        want(Api(world.addresses()[0]).get("/openapi.json"), 200)
        command = [
            str(pathlib.Path(sys.executable).with_name("schemathesis")), "--config-file",
            str(pathlib.Path(__file__).with_name("schemathesis.toml")), "--no-color", "run", f"http://{world.addresses()[0]}/openapi.json",
            "--header", f"X-API-Key: {tenant.key}", "--max-time", str(seconds), "--phases", "examples,coverage,fuzzing",
            "--checks", CHECKS, "--continue-on-failure", "--request-timeout", "40", "--workers", "2", "--generation-database", "none",
            # Streams do not end, a socket is no answer, and the key must not be able to end itself.
            "--exclude-path-regex", "watch|pubsub/sse|pubsub/ws", "--exclude-operation-id-regex", "deleteNamespace",
            "--suppress-health-check", "all", "--warnings", "off",
        ]  # fmt: skip
        status = subprocess.run(command, cwd=work, text=True, timeout=seconds + 120).returncode
        world.healthy()
        print("1 passed, 0 failed" if status == 0 else "0 passed, 1 failed")
        return status
    finally:
        world.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
