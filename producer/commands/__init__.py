"""The commands of `producer`, one module a group; `producer/__main__.py` names the groups.

A command imports what it needs inside its function, so that ``producer --help`` stays quick.
"""

from typing import Annotated

import typer

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
