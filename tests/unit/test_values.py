"""Every kind of value that programs pass arrives as it left, or is refused with its reason."""

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

from shared.calls import codec
from shared.errors import NotAllowed, NotPortable
from tests.unit import kinds, shapes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "compatibility.md").read_text()


def round_trip(value):
    return codec.loads(codec.dumps(value))


def test_the_table_is_long_enough_to_mean_something():
    assert len(kinds.EXACT) + len(kinds.NEVER) + len(kinds.REASONS) > 153


@pytest.mark.parametrize("name", kinds.EXACT)
def test_a_value_of_each_kind_arrives_as_it_left(name):
    value = kinds.EXACT[name]()

    arrived = round_trip(value)

    assert kinds.alike(arrived, value)


@pytest.mark.parametrize("library", kinds.LIBRARIES)
def test_values_of_a_library_arrive_as_they_left(library):
    pytest.importorskip(library)

    wrong = {
        name: outcome
        for name, make in kinds.LIBRARIES[library]().items()
        if (outcome := difference(make())) != ""
    }

    assert wrong == {}


def difference(value):
    try:
        arrived = round_trip(value)
        return "" if kinds.alike(arrived, value) else f"{arrived!r} is not {value!r}"
    except Exception as error:
        return repr(error)


@pytest.mark.parametrize("name", {**kinds.NEVER, **kinds.REASONS})
def test_what_does_not_travel_says_why_in_one_line(name):
    make, reason = {**kinds.NEVER, **kinds.REASONS}[name]
    thing = make()

    for value in (thing, [1, thing], {"a": (thing,)}, [[0], [0], [thing]]):
        with pytest.raises((NotPortable, NotAllowed), match=reason) as refused:
            codec.dumps(value)
        assert "\n" not in str(refused.value)


# To a local process a socket goes by its descriptor, and a view as a list once a manager was used.
@pytest.mark.parametrize("name", sorted(kinds.NEVER.keys() - {"socket", "view of a dict"}))
def test_a_local_pool_refuses_it_too(name):
    thing = kinds.NEVER[name][0]()

    # Its errors are TypeError, AttributeError, RuntimeError and pickle's own.
    with pytest.raises(Exception, match=r"pickle|Can't|through inheritance|not me"):
        ForkingPickler.dumps(thing)


@pytest.mark.parametrize("name", kinds.REASONS)
def test_each_refusal_of_what_a_local_pool_carries_stands_in_the_documentation(name):
    make, _ = kinds.REASONS[name]

    assert ForkingPickler.dumps(make())
    assert f"| {name} |" in PAGE


def test_two_names_for_one_object_arrive_as_two_names_for_one_object():
    for name in kinds.EXACT:
        if name.endswith("twice"):
            arrived = round_trip(kinds.EXACT[name]())
            assert arrived[0] is arrived[1]["again"] is arrived[2][0], name


def test_children_know_the_parent_that_arrived_with_them():
    arrived = round_trip(kinds.tree())

    assert all(child.parent is arrived for child in arrived.children)


def test_a_list_of_thousands_that_know_their_neighbours_arrives_in_order():
    node = round_trip(shapes.linked(3_000))

    names = [node.name]
    while node.children:
        (after,) = node.children
        assert after.parent is node
        names.append(after.name)
        node = after
    assert names == list(range(3_000))


def test_equal_objects_stay_two():
    one, other = round_trip([[1], [1]])

    assert one is not other


def test_a_shared_value_is_sent_once():
    rows = ["a long text of its own" for _ in range(1_000)]

    size = len(codec.dumps([rows] * 100))

    assert size < 2 * len(codec.dumps(rows))
