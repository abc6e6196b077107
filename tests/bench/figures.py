"""What was measured: values by round, rows of the table, and the table itself."""

import json
import statistics


class Series:
    """One figure, once in every round."""

    def __init__(self, values=()):
        self.values = list(values)

    def add(self, value):
        self.values.append(value)

    def median(self):
        return statistics.median(self.values)

    def spread(self):
        """(most - least) / median, in percent."""
        middle = self.median()
        return 100 * (max(self.values) - min(self.values)) / middle if middle else 0.0

    def ratio(self, base):
        """The median of the rounds' ratios: what disturbs a round disturbs both halves of it."""
        pairs = [(a, b) for a, b in zip(self.values, base.values) if b]
        return statistics.median(a / b for a, b in pairs) if pairs else None


def text_of(value):
    """A number for people: three digits that count, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


class Report:
    """Collects rows, data for the pictures, and notes of what went wrong."""

    HEAD = ("what", "Tally", "baseline", "ratio", "goal", "spread: Tally, baseline")

    def __init__(self, say):
        self.say = say      # say(text): what is under way, for a terminal
        self.rows = []      # (part, cells)
        self.data = {}      # name -> what a picture is drawn from
        self.notes = []

    def row(self, part, what, figure, base=None, of="", goal="", unit=""):
        """figure, base: Series. of: whose the baseline is. unit stands behind both numbers."""
        unit = f" {unit}" if unit else ""
        cells = [what, f"{text_of(figure.median())}{unit}", "", "", goal, f"{figure.spread():.0f} %"]
        if base and base.values:
            ratio = figure.ratio(base)
            cells[2] = f"{of} {text_of(base.median())}{unit}".strip()
            cells[3] = "" if ratio is None else f"{ratio:.2f}"
            cells[5] += f", {base.spread():.0f} %"
        self.rows.append((part, cells))
        self.say(f"{what}: {cells[1]}" + (f", {cells[2]}, ratio {cells[3]}" if base else ""), keep=True)

    def note(self, text):
        self.notes.append(text)
        self.say(text, keep=True)

    def markdown(self):
        lines = ["| " + " | ".join(self.HEAD) + " |", "|---|--:|--:|--:|--:|--:|"]
        lines += ["| " + " | ".join(cells) + " |" for _, cells in self.rows]
        return "\n".join(lines)

    def save(self, path):
        """All of it for programs."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"rows": [dict(zip(("part",) + self.HEAD, [part] + cells)) for part, cells in self.rows],
                       "data": self.data, "notes": self.notes}, file, indent=1)
            file.write("\n")
