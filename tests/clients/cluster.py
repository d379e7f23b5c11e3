"""Starts a real cluster for tests of clients, and ends it.

As a module: `with Cluster() as cluster: ...`. As a command it prints one line of JSON, with the address of every SQL
listener (the leader's first) and a namespace with its key, then stays until its standard input is closed: that is how
tests in other languages use it.

The binary is $DEBROS_BIN, or target/debug/debros. Ports are chosen by the system, data lies in a temporary directory.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# A debug build on a machine that compiles beside it.
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40


def binary():
    named = os.environ.get("DEBROS_BIN")
    if named:
        return str(pathlib.Path(named).resolve())
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return str((target / "debug" / "debros").resolve())


def until(condition, what, seconds=START_SECONDS_MAX):
    """Polls until the condition gives something, which is returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Node:
    """One process and its data directory."""

    def __init__(self, directory, settings=None):
        self.directory = directory
        self.settings = settings or {}
        self.process = None
        self.role = None

    def start(self, *arguments, token=None):
        """Starts the process: for the first time with its role, later in the same one."""
        arguments = arguments or (self.role,)
        self.role = arguments[0]
        address_file = self.directory / "addresses.json"
        # Left behind by a process that was killed; a new one writes its own.
        address_file.unlink(missing_ok=True)
        # Nothing of the machine's own configuration may reach the tests.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DEBROS_")}
        environment["XDG_CONFIG_HOME"] = str(self.directory.parent)
        environment.update(self.settings)
        if token:
            environment["DEBROS_JOIN"] = token
        command = [binary(), *arguments, "--data-dir", str(self.directory), "--listen", "/ip4/127.0.0.1/tcp/0"]
        command += ["--sql-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"]
        with open(self.directory.parent / f"{self.directory.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, stdout=log, env=environment, cwd=self.directory.parent
            )
        until(lambda: self.process.poll() is not None or address_file.exists(), f"{self.directory.name} is ready")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.directory.name} ended with {self.process.returncode}:\n{self.log()}")
        addresses = json.loads(address_file.read_text())
        self.gateway_address = addresses["gateway"]
        # A gateway has none.
        self.sql_address = addresses.get("sql")
        self.sql_port = int(self.sql_address.rpartition(":")[2]) if self.sql_address else None

    def ask(self, *arguments):
        """Runs a command against this node; its standard output."""
        command = [binary(), *arguments, "--data-dir", str(self.directory)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def status(self):
        return json.loads(self.ask("cluster", "status", "--format", "json"))

    def kill(self):
        """The process is gone at once, as by a power cut."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """The process ends in order. Its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def log(self):
        return (self.directory.parent / f"{self.directory.name}.log").read_text(errors="replace")[-4000:]


class Cluster:
    """Some nodes that all vote. `settings` are environment variables of each."""

    def __init__(self, nodes=3, settings=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="debros-clients-"))
        self.nodes = []
        self.gateways = []
        try:
            for number in range(1, nodes + 1):
                directory = self.root / f"node{number}"
                directory.mkdir(mode=0o700)
                node = Node(directory, settings)
                # Before it starts: whoever started a process that does not get ready still has to end it.
                self.nodes.append(node)
                if number > 1:
                    node.start("node", token=self.nodes[0].ask("cluster", "invite"))
                else:
                    node.start("bootstrap")
            voters = lambda: self.nodes[0].status()["raft"]["voters"] == nodes
            until(voters, f"{nodes} nodes vote")
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def leader(self):
        """The node that leads, by its own word."""
        alive = [node for node in self.nodes if node.process.poll() is None]
        leads = lambda: [node for node in alive if node.status()["raft"]["state"] == "leader"]
        return until(leads, "a node leads")[0]

    def follower(self):
        leader = self.leader()
        return next(node for node in self.nodes if node is not leader and node.process.poll() is None)

    def start_gateway(self, name, settings=None):
        """A process that stores nothing. It ends with the cluster."""
        directory = self.root / name
        directory.mkdir(mode=0o700)
        gateway = Node(directory, settings)
        self.gateways.append(gateway)
        alive = next(node for node in self.nodes if node.process.poll() is None)
        gateway.start("gateway", token=alive.ask("cluster", "invite", "--role", "gateway"))
        return gateway

    def create_namespace(self, name):
        """Makes a namespace; a key that opens it."""
        self.nodes[0].ask("namespace", "create", name)
        return self.nodes[0].ask("key", "create", "--namespace", name)

    def end(self):
        """Ends the processes; their data stays."""
        processes = [node for node in self.gateways + self.nodes if node.process]
        for node in processes:
            if node.process.poll() is None:
                node.process.terminate()
        for node in processes:
            try:
                node.stop()
            except subprocess.TimeoutExpired:
                print(f"{node.directory.name} did not stop:\n{node.log()}", file=sys.stderr)

    def stop(self):
        self.end()
        shutil.rmtree(self.root, ignore_errors=True)


def main():
    with Cluster() as cluster:
        leader = cluster.leader()
        nodes = [leader] + [node for node in cluster.nodes if node is not leader]
        key = cluster.create_namespace("acme")
        print(json.dumps({"sql": [node.sql_address for node in nodes], "namespace": "acme", "key": key}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
