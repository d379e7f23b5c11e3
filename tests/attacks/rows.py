"""Which attack each test carries out, and that `rows.md` tells the same."""

import pathlib
import re

TABLE = pathlib.Path(__file__).with_name("rows.md")

REPOSITORY = TABLE.parents[2]

# What the table must have a line for: authentication, wallet proof, tokens, namespaces, SQL, HTTP, and of the rows about
# the network between nodes those about gossip.
WANTED = {"A": range(1, 13), "W": range(1, 23), "T": range(1, 21), "N": range(1, 16), "S": range(1, 21), "H": range(1, 27), "R": [18, 19, 20, 21, 28]}

tests = []


def row(name):
    """Marks the function that carries out the attack of this row."""

    def mark(function):
        tests.append((name, function))
        return function

    return mark


def table():
    """Row to the name of its test, or to None where a reason stands instead."""
    found = {}
    for line in TABLE.read_text().splitlines():
        match = re.match(r"\| ([A-Z]\d+) \| (?:`(\w+)`|none) \| (.*) \|$", line)
        if match:
            name, test, said = match.groups()
            assert name not in found, f"{name} is there twice"
            assert test or said.strip(), f"{name} has neither test nor reason"
            for function, path in re.findall(r"`(\w+)` in `([\w/]+\.rs)`", said):
                assert f"fn {function}(" in (REPOSITORY / path).read_text(), f"{name}: no `{function}` in {path}"
            found[name] = test
    return found


def the_table_and_the_tests_agree(world):
    listed = table()
    wanted = {f"{letter}{number}" for letter, numbers in WANTED.items() for number in numbers}
    assert set(listed) == wanted, f"missing {sorted(wanted - set(listed))}, unknown {sorted(set(listed) - wanted)}"
    carried_out = {name: function.__name__ for name, function in tests if name in wanted}
    named = {name: test for name, test in listed.items() if test}
    assert carried_out == named, f"they differ in {sorted(set(carried_out.items()) ^ set(named.items()))}"
