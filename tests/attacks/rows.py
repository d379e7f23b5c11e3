"""Which attack each test carries out, and that `rows.md` tells the same."""

import pathlib
import re

TABLE = pathlib.Path(__file__).with_name("rows.md")

# What the table must have a line for: authentication, wallet proof, tokens, namespaces, SQL, HTTP.
WANTED = {"A": 12, "W": 22, "T": 20, "N": 15, "S": 20, "H": 26}

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
            found[name] = test
    return found


def the_table_and_the_tests_agree(world):
    listed = table()
    wanted = {f"{letter}{number}" for letter, last in WANTED.items() for number in range(1, last + 1)}
    assert set(listed) == wanted, f"missing {sorted(wanted - set(listed))}, unknown {sorted(set(listed) - wanted)}"
    carried_out = {name: function.__name__ for name, function in tests if name in wanted}
    named = {name: test for name, test in listed.items() if test}
    assert carried_out == named, f"they differ in {sorted(set(carried_out.items()) ^ set(named.items()))}"
