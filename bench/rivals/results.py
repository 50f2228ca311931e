"""Numbers of a case from its measurements."""
import re
import statistics

from contestants import QUIET


def quiet_rounds(pairs):
    """The rounds in which nobody disturbed a contestant; all rounds where there is none."""
    quiet = {n for n, (_, others) in enumerate(pairs) if others <= QUIET}
    return quiet or set(range(len(pairs)))


def median(pairs, rounds):
    """The median milliseconds of some rounds."""
    return statistics.median(pairs[n][0] for n in rounds)


def timed(case, times, ready):
    """{name: its numbers}."""
    peak, slim, answer = None, times.get("slim"), {}
    if times.get("peak"):
        work = float(ready["peak"].split()[1].rstrip(","))
        peak = work / min(ms for ms, _ in times["peak"]) * 1e3
    for name, pairs in times.items():
        rounds = quiet_rounds(pairs)
        row = {"milliseconds": [ms for ms, _ in pairs], "others": [round(o, 2) for _, o in pairs],
               "quiet": sum(others <= QUIET for _, others in pairs),
               "median": median(pairs, rounds), "min": min(ms for ms, _ in pairs)}
        if case.gflop and peak:
            row["gflops"] = peak if name == "peak" else case.gflop / row["median"] * 1e3
            row["share_of_peak"] = row["gflops"] / peak
        if slim and name != "peak":
            both = (rounds & quiet_rounds(slim)) or rounds
            row["to_slim"] = row["median"] / median(slim, quiet_rounds(slim))
            row["to_slim_by_round"] = statistics.median(pairs[n][0] / slim[n][0] for n in both)
        answer[name] = row
    return answer


def memory(bytes_of, ready):
    """{name: its numbers}; slim's planned bytes are in its `ready` line."""
    answer = {name: {"mib": size / 2**20} for name, size in bytes_of.items()}
    if "slim" in answer:
        for row in answer.values():
            row["to_slim"] = row["mib"] / answer["slim"]["mib"]
        planned = int(re.search(r"planned bytes (\d+)", ready["slim"])[1])
        answer["slim"].update(planned_mib=planned / 2**20, to_plan=bytes_of["slim"] / planned)
    return answer


def fastest(case):
    """The best rival of a case and its ratio to slim, or None."""
    rivals = {name: row["to_slim"] for name, row in case["results"].items()
              if name not in ("slim", "peak") and "to_slim" in row}
    return min(rivals.items(), key=lambda item: item[1]) if rivals else None
