"""Numbers of a case from its measurements."""
import statistics


def together(one, other):
    """The median of the ratios within the rounds that both have."""
    return statistics.median(a / b for a, b in zip(one, other))


def ratios(name, groups):
    """How many times slim's time a contestant takes: of the medians, and by round.  Only groups of
    contestants that were measured together count."""
    for times in groups:
        if times.get(name) and times.get("slim"):
            one, slim = times[name], times["slim"]
            return {"to_slim": statistics.median(one) / statistics.median(slim),
                    "to_slim_by_round": together(one, slim)}
    return {}


def apart(name, groups):
    """The same where no group has both: of the medians alone."""
    one, slim = gathered(name, groups), gathered("slim", groups)
    return {"to_slim": statistics.median(one) / statistics.median(slim)} if slim else {}


def gathered(name, groups):
    """All milliseconds of a contestant."""
    return [ms for times in groups for ms in times.get(name, ())]


def timed(case, groups, peak):
    """{name: its numbers}, of the milliseconds {name: [...]} of groups measured together."""
    answer = {}
    for name in dict.fromkeys(name for times in groups for name in times):
        values = gathered(name, groups)
        if not values:
            continue
        row = {"milliseconds": values, "median": statistics.median(values), "min": min(values)}
        row["tflops"] = case.gflop / row["median"]
        if peak:
            row["share_of_peak"] = row["tflops"] / peak
        if name != "slim":
            row.update(ratios(name, groups) or apart(name, groups))
        answer[name] = row
    return answer


def fastest(case):
    """The best rival of a case and its ratio to slim; the ratio is None where slim is missing."""
    rivals = {name: row for name, row in case["results"].items() if name != "slim"}
    if not rivals:
        return None
    name = min(rivals, key=lambda n: rivals[n].get("to_slim", rivals[n]["median"]))
    return name, rivals[name].get("to_slim")
