"""The report's chapters on queue lengths, Redis and `multiprocessing`."""

import re

from bench import growth, limits, maps
from bench.figures import Results
from bench.measures import MEASURES, Measure
from bench.systems import OURS
from bench.tables import NONE, Rows, cell, dashes_only, number, ratio_cell

SENDER = "`producer send --count`"
_KEY = re.compile(r"growth_[a-z]+_(\d+)")


def lengths(results: Results) -> list[int]:
    """Return the lengths of the queues that were filled."""
    found = (_KEY.fullmatch(sample.measure) for sample in results.samples)
    return sorted({int(match[1]) for match in found if match})


def longest_measures(results: Results, theirs: str) -> list[Measure]:
    """Return the measures at the longest queue that both systems had."""
    for length in reversed(lengths(results)):
        found = [growth.measure(kind, length) for kind in growth.KINDS]
        if results.of(OURS, found[-1]) and results.of(theirs, found[-1]):
            return found
    return []


def growing(results: Results) -> Rows:
    """Return a row for each system and length."""
    titles = [f"{title}, {unit}" for title, unit, _ in growth.KINDS.values()]
    rows = [["", "queued", *titles]]
    for system in results.systems:
        for sent in (False, True):
            for length in lengths(results):
                measures = [growth.measure(kind, length, sent=sent) for kind in growth.KINDS]
                cells = [cell(results.of(system, measure)) for measure in measures]
                if not dashes_only(cells):
                    name = f"{system}, {SENDER}" if sent else system
                    rows.append([name, f"{length:,}", *cells])
    return rows


def whole(results: Results) -> list[str]:
    """Return a line for each system whose longest queue was drained completely."""
    lines = []
    for system in results.systems:
        found = {key: results.of(system, measure) for key, measure in growth.WHOLE.items()}
        values = {key: number(one.median) for key, one in found.items() if one}
        if len(values) == len(growth.WHOLE):
            lines.append(
                f"{system} drained all {growth.DRAINED_WHOLE:,}: "
                f"{values['whole_second']} tasks/s in the second tenth, "
                f"{values['whole_slowest']} in the slowest, {values['whole_last']} in the last; "
                f"the worker had {values['whole_worker_first']} MB after the first tenth and "
                f"{values['whole_worker_last']} MB at the end."
            )
    return lines


def steadiness(results: Results) -> Rows:
    """Return the ratios of each system's figures at the longest queue and at the shortest."""
    rows = [["", "lengths", *(title for title, _, _ in growth.KINDS.values())]]
    for system in results.systems:
        had = [
            length
            for length in lengths(results)
            if results.of(system, growth.measure("drain", length))
        ]
        if len(had) < 2:
            continue
        cells = []
        for kind in growth.KINDS:
            first = results.of(system, growth.measure(kind, had[0]))
            last = results.of(system, growth.measure(kind, had[-1]))
            cells.append(f"{last.median / first.median:.2f}" if first and last else NONE)
        rows.append([system, f"{had[-1]:,} / {had[0]:,}", *cells])
    return rows


def beside_redis(results: Results) -> Rows:
    """Return our rates as percentages of the rates of Redis alone."""
    tools = [
        (limits.ONE_BY_ONE, "its commands, one by one"),
        (limits.TOGETHER, f"its commands, {limits.AT_ONCE} at once"),
    ]
    rows = [["", f"{OURS}, tasks/s"]]
    for _, title in tools:
        rows[0] += [f"{title}, tasks/s", "reached"]
    benchmarks = {
        "enqueue": (limits.BENCHMARK_ONE_BY_ONE, "LPUSH, one by one"),
        "enqueue_bulk": (limits.BENCHMARK_TOGETHER, f"LPUSH, {limits.AT_ONCE} at once"),
    }
    has_benchmark = any(results.of(OURS, limits.measure(key)) for key, _ in benchmarks.values())
    if has_benchmark:
        rows[0] += ["`redis-benchmark`, messages/s", "reached"]
    for key in limits.OF:
        measure = next(measure for measure in MEASURES if measure.key == key)
        others = [limits.measure(kind, key) for kind, _ in tools]
        if has_benchmark:
            kind, how = benchmarks.get(key, ("", ""))
            others.append(limits.measure(kind))
        pairs = [_reached(results, measure, other) for other in others]
        if has_benchmark and pairs[-1][0] != NONE:
            pairs[-1] = f"{how}: {pairs[-1][0]}", pairs[-1][1]
        cells = [text for pair in pairs for text in pair]
        if not dashes_only(cells):
            rows.append([measure.title, cell(results.of(OURS, measure)), *cells])
    return rows


def beside_multiprocessing(results: Results) -> Rows:
    """Return the time of the standard library's pool for a map, relative to ours."""
    rows = [[f"`map(noop, range({maps.ITEMS:,}))`", f"takes, beside {OURS}"]]
    for way, title, _ in maps.WAYS:
        found = results.of(OURS, maps.measure(way))
        if found is not None:
            rows.append([f"`multiprocessing.Pool(2)`, {title}", ratio_cell(found)])
    return rows


def reached(results: Results) -> list[str]:
    """Return one line with the percentages of Redis' rates, or no line if there are none."""
    parts = []
    for key in limits.OF:
        measure = next(measure for measure in MEASURES if measure.key == key)
        share = _reached(results, measure, limits.measure(limits.ONE_BY_ONE, key))[1]
        if share != NONE:
            parts.append(f"{measure.title}: {share}")
    if not parts:
        return []
    return [
        f"Of the pace at which Redis answers the same commands, one by one: {'; '.join(parts)}."
    ]


def _reached(results: Results, ours: Measure, limit: Measure) -> tuple[str, str]:
    found, redis = results.of(OURS, ours), results.of(OURS, limit)
    if redis is None:
        return NONE, NONE
    return cell(redis), f"{found.median / redis.median * 100:.0f} %" if found else NONE
