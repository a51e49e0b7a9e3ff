"""The score as people read it: bounds, causes, kinds, combinations that went wrong, the confusion matrix. Pure."""

from typing import Any


def page(said: dict[str, Any]) -> str:
    """Return the whole page."""
    parts = [
        _bounds(said),
        _kinds(said),
        _causes(said),
        _combinations(said),
        _confusion(said),
        _recovery(said),
        _rest(said),
    ]
    return "\n".join(parts) + "\n"


BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def between_marks(page_text: str, figures: str) -> str:
    """Return a page with the figures between its marks replaced; ValueError if it has no marks."""
    head, begin, rest = page_text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no marks to put the figures between")
    return f"{head}{begin}\n{figures}\n{end}{tail}"


def percent(share: float | None) -> str:
    """Return a share in per cent, with two places."""
    return "-" if share is None else f"{100 * share:.2f} %"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table that is aligned for a terminal too."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines) + "\n"


def _bounds(said: dict[str, Any]) -> str:
    rows = []
    for name, bound in said["bounds"].items():
        value = bound["measured"]
        shown = percent(value) if isinstance(value, float) else str(value)
        if isinstance(value, dict):
            shown = f"{len(value)} causes came less often" if value else "all came as often"
        limit = percent(bound["bound"]) if isinstance(bound["bound"], float) else str(bound["bound"])
        rows.append([name, shown, limit, "holds" if bound["holds"] else "MISSED"])
    few = ", ".join(f"{cause} {count}" for cause, count in said["bounds"]["per cause"]["measured"].items())
    return table(["bound", "measured", "to reach", ""], rows) + (f"\ncame too seldom: {few}\n" if few else "")


def _share(told: dict[str, Any]) -> str:
    if not told["of"]:
        return "-"
    return f"{percent(told['share'])} ({percent(told['low'])[:-2]}-{percent(told['high'])})"


def _kinds(said: dict[str, Any]) -> str:
    rows = [
        [
            kind,
            str(one["any_held"]["of"]),
            _share(one["any_held"]),
            _share(one["strict"]),
            _share(one["without_logs"]),
            _share(one["sighted"]),
        ]
        for kind, one in said["per_kind"].items()
    ]
    rows.append(
        [
            "all",
            str(said["failures"]),
            _share(said["any_held"]),
            _share(said["strict"]),
            _share(said["any_held_without_logs"]),
            _share(said["any_held_sighted"]),
        ]
    )
    return table(
        [
            "kind",
            "failures",
            "any held",
            "strict",
            "any held, without logs",
            "any held, outside of blind spots",
        ],
        rows,
    )


def _causes(said: dict[str, Any]) -> str:
    rows = [
        [cause, str(one["recall"]["of"]), _share(one["recall"]), _share(one["precision"])]
        for cause, one in said["per_cause"].items()
    ]
    return table(["cause", "failures", "recall", "precision"], rows)


def _combinations(said: dict[str, Any], most: int = 25) -> str:
    wrong = {name: one for name, one in said["per_combination"].items() if one["any_held"] < 1}
    rows = [
        [
            name,
            str(one["failures"]),
            percent(one["any_held"]),
            percent(one["strict"]),
            str(one["unexplained"]),
        ]
        for name, one in sorted(wrong.items(), key=lambda item: item[1]["any_held"])[:most]
    ]
    right = len(said["per_combination"]) - len(wrong)
    head = f"{right} of {len(said['per_combination'])} combinations without a wrong one; the others:\n"
    return head + table(["combination", "failures", "any held", "strict", "unexplained"], rows)


def _confusion(said: dict[str, Any]) -> str:
    rows = [[true, blamed, str(count)] for true, blamed, count in said["confusion"] if true != blamed]
    return table(["truth (primary)", "blamed", "failures"], sorted(rows, key=lambda row: -int(row[2])))


def _recovery(said: dict[str, Any]) -> str:
    rows = [
        [
            name,
            str(one["compared"]),
            *(f"{one[key]:.2f} s" for key in ("p50_s", "p95_s", "worst_s")),
            percent(one["within_100_ms"]),
        ]
        for name, one in said.get("recovery", {}).items()
    ]
    return table(["recovery", "compared", "error p50", "p95", "worst", "within 100 ms"], rows)


def _rest(said: dict[str, Any]) -> str:
    seeds = said["seeds"]
    lines = [
        f"runs: mean {percent(seeds['mean'])}, worst {percent(seeds['worst'])} (seed {seeds['worst_seed']})",
        f"inside blind spots: {said['inside_blind_spots']}, confidently wrong: {said['confidently_wrong']}",
        f"within 2 s of an edge: {said['near_an_edge']} of {said['failures']}",
        f"seed {said['seed']}, rules {said['blame_version']}, {said['took_s']} s",
    ]
    lines.append(f"failures whose truth nobody knows, not counted: {said.get('unlabelled', 0)}")
    lines += [f"not played: {name}: {why}" for name, why in said["not_played"].items()]
    return "\n".join(lines)
