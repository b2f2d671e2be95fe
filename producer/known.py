"""The tasks that can be sent: the ready-made ones, and those of living workers."""

from producer.arguments import WrongUsage, nearest
from shared.broker import catalogue
from shared.broker.catalogue import Catalogue
from shared.calls import references
from shared.errors import DaySixError
from shared.pools import DEFAULT_QUEUE, PoolKind
from shared.tasks import CONTRACTS, contracts
from shared.tasks.contracts import Contract


class NotThere(DaySixError):
    """Raised when no living worker has what is to be sent."""


def tasks() -> list[Contract]:
    """All tasks, the ready-made ones first; each with the queue where it runs by default."""
    found = catalogue.read()
    own = [contract for name, contract in found.tasks.items() if name not in CONTRACTS]
    return [
        *CONTRACTS.values(),
        *(
            Contract(each.name, _usual_queue(each, found), each.signature, each.help)
            for each in sorted(own, key=lambda contract: contract.name)
        ),
    ]


def find(name: str, pool: PoolKind | None = None) -> tuple[Contract, str]:
    """The task of a name, or the function of a reference, and the queue that it goes to.

    A task of one's own is also found by the last words of its name. Raises `WrongUsage` for a
    name that means nothing, and `NotThere` where no living worker could run it.
    """
    if name in CONTRACTS:
        # The workers of all pools have it: they need not be asked.
        return CONTRACTS[name], str(pool.value if pool else CONTRACTS[name].queue)
    found = catalogue.read()
    if ":" in name:
        contract = _function(name, found)
        return contract, pool.value if pool else _among(found.consumed)
    contract = _task(name, found)
    queue = pool.value if pool else _usual_queue(contract, found)
    takers = found.queues[contract.name]
    if queue in found.consumed - takers:
        raise NotThere(
            f"no worker of {queue!r} has the task {contract.name!r}, but those of "
            f"{', '.join(map(repr, sorted(takers)))} have (see the log of {queue!r})"
        )
    return contract, queue


def _task(name: str, found: Catalogue) -> Contract:
    if name in found.tasks:
        return found.tasks[name]
    matches = sorted(full for full in found.tasks if full.endswith(f".{name}"))
    if len(matches) == 1:
        return found.tasks[matches[0]]
    if matches:
        raise WrongUsage(f"{name!r} could be {' or '.join(map(repr, matches))}")
    known = [*CONTRACTS, *found.tasks]
    near = nearest(name, [*known, *(full.rpartition(".")[2] for full in found.tasks)])
    if found.consumed:
        raise WrongUsage(
            f"no living worker has a task {name!r}"
            f"{near or '; is its module in TASK_MODULES?'} (see producer tasks)"
        )
    raise WrongUsage(
        f"there is no ready-made task {name!r}{near}; "
        "and no worker is alive to say which others there are"
    )


def _function(reference: str, found: Catalogue) -> Contract:
    if reference in found.functions:
        return found.functions[reference]
    module, _, function = reference.partition(":")
    if not module or not function:
        raise WrongUsage(f"{reference!r} is no function: it looks like module:function")
    same = {name for name in found.functions if name.startswith(f"{module}:")}
    if not same:
        references.check_allowed(reference)
    if function[0] != "_" and (near := nearest(reference, same)):
        raise WrongUsage(f"no living worker knows a function {reference!r}{near}")
    return Contract(reference, None, contracts.ANY_ARGUMENTS, "")


def _usual_queue(contract: Contract, found: Catalogue) -> str:
    return contract.queue or _among(found.queues.get(contract.name, set()))


def _among(queues: set[str]) -> str:
    """One of the queues that workers take from: Celery's default queue, if it is one of them."""
    return DEFAULT_QUEUE if DEFAULT_QUEUE in queues or not queues else min(queues)
