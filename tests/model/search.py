"""Breadth-first search of every state that a model can reach, and the check of each."""

import time
from array import array
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Found:
    """The result of a search. `trace` is a shortest list of actions that breaks a promise."""

    states: int = 0
    depth: int = 0
    seconds: float = 0.0
    violation: str = ""
    trace: list[str] = field(default_factory=list)


STUCK = "a worker lives, and the tasks can never end"


def search(model: Any) -> Found:
    """Visit every state, nearest first. Stops at the first state that breaks a promise.

    Then every state from which the end must be reachable is checked, without further faults: a path
    of `model.STEPS` leads from it to a state that `model.is_done`.
    """
    began = time.perf_counter()
    start = model.initial()
    seen = {start: 0}
    parents, labels = array("l", [-1]), [""]
    sources, targets = array("l"), array("l")
    level, found = [start], Found()
    is_done = array("b", [model.is_done(start)])
    goes_on = array("b", [model.must_go_on(start)])
    while level:
        following = []
        for state in level:
            source = seen[state]
            for actions, by_itself in ((model.STEPS, True), (model.OUTSIDE, False)):
                for action in actions:
                    for label, reached in action(model, state):
                        target = seen.get(reached)
                        if target is None:
                            after = model.canonical(reached)
                            target = seen.get(after)
                        if target is None:
                            target = seen[after] = len(seen)
                            parents.append(source)
                            labels.append(label)
                            is_done.append(model.is_done(after))
                            goes_on.append(model.must_go_on(after))
                            following.append(after)
                            found.violation = model.broken(after)
                            if found.violation:
                                return _finished(found, seen, parents, labels, target, began)
                        if by_itself and target != source:
                            sources.append(source)
                            targets.append(target)
        level = following
        found.depth += bool(following)
    stuck = _first_stuck(is_done, goes_on, sources, targets)
    if stuck is not None:
        found.violation = STUCK
        return _finished(found, seen, parents, labels, stuck, began)
    return _finished(found, seen, parents, labels, 0, began)


def _finished(
    found: Found, seen: dict, parents: array, labels: list[str], at: int, began: float
) -> Found:
    while at > 0:
        found.trace.insert(0, labels[at])
        at = parents[at]
    found.states, found.seconds = len(seen), time.perf_counter() - began
    return found


def _first_stuck(is_done: array, goes_on: array, sources: array, targets: array) -> int | None:
    """The state nearest to the start that must reach the end and cannot."""
    # The edges in the order of their targets, to walk backwards from the ends.
    first = array("l", [0]) * (len(is_done) + 1)
    for target in targets:
        first[target + 1] += 1
    for at in range(len(is_done)):
        first[at + 1] += first[at]
    place, into = array("l", first), array("l", [0]) * len(sources)
    for source, target in zip(sources, targets, strict=True):
        into[place[target]] = source
        place[target] += 1
    ends = array("b", is_done)
    todo = [at for at, done in enumerate(is_done) if done]
    while todo:
        at = todo.pop()
        for source in into[first[at] : first[at + 1]]:
            if not ends[source]:
                ends[source] = 1
                todo.append(source)
    return next((at for at, must in enumerate(goes_on) if must and not ends[at]), None)
