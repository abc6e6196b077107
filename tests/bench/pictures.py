"""Pictures of what was measured, as SVG files, from the data that the parts left in the report."""

import os

try:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter
except ImportError:
    matplotlib = None

COLORS = {"Tally": "#c0392b", "bare": "#7f8c8d", "floor": "#7f8c8d", "Redis": "#2471a3"}


def missing():
    """Why nothing can be drawn, or None."""
    return None if matplotlib else "matplotlib is not there (Debian's python3-matplotlib)"


def of_servers(points, x, y):
    """server -> (xs, ys), in order of x."""
    servers = {}
    for point in sorted(points, key=lambda point: point[x]):
        xs, ys = servers.setdefault(point["server"], ([], []))
        xs.append(point[x])
        ys.append(point[y])
    return servers


def lines(axes, servers, label="", **style):
    for server, (xs, ys) in servers.items():
        axes.plot(xs, ys, marker="o", markersize=3, color=COLORS[server], label=f"{server}{label}", **style)


def plain(axes, xs):
    """Logarithmic, with numbers as people write them."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(xs, [f"{x:,}" for x in xs])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def over_load(figure, points, x, name):
    """Throughput, and beside it p50 and p99."""
    rate, latency = figure.subplots(1, 2)
    lines(rate, of_servers(points, x, "rate"))
    rate.set(xlabel=name, ylabel="a second")
    lines(latency, of_servers(points, x, "p50_us"), " p50")
    lines(latency, of_servers(points, x, "p99_us"), " p99", linestyle="--")
    latency.set(xlabel=name, ylabel="µs")
    for axes in (rate, latency):
        plain(axes, sorted({point[x] for point in points}))
        axes.legend(fontsize="small", framealpha=0.5)


def calls(figure, points):
    figure.suptitle("hits with wait 0: calls a second, and how long a call takes")
    over_load(figure, points, "at_once", "calls at a time")


def counts(figure, points):
    figure.suptitle("durable counts a second, and how long an answer takes")
    over_load(figure, points, "outstanding", "requests outstanding")


def distribution(figure, points):
    """Percentiles, the last ones drawn wide."""
    loads = [load for load in (64, 256) if any(p["outstanding"] == load for p in points)]
    for axes, load in zip(figure.subplots(1, 2), loads):
        for point in (p for p in points if p["outstanding"] == load):
            spread = [(1 / (1 - share), us) for share, us in point["spread"] if share <= 0.9999]
            axes.plot([x for x, _ in spread], [us for _, us in spread], color=COLORS[point["server"]],
                      label=point["server"])
        shares = (0.5, 0.9, 0.99, 0.999, 0.9999)
        axes.set(xscale="log", yscale="log", xlabel="of the answers", ylabel="took at most, µs",
                 title=f"{load} outstanding")
        axes.set_xticks([1 / (1 - share) for share in shares], [f"{100 * share:g} %" for share in shares])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.legend()
    figure.suptitle("how long answers take")


def memory(figure, points):
    axes = figure.subplots()
    servers = of_servers(points, "calls", "kib")
    lines(axes, {server: (xs, [kib / 1024 for kib in ys]) for server, (xs, ys) in servers.items()})
    axes.set(title="resident memory of all processes", xlabel="calls that wait", ylabel="MiB")
    axes.set_ylim(bottom=0)
    axes.legend()


def recovery(figure, points):
    axes = figure.subplots()
    for block in sorted({point["block"] for point in points}, reverse=True):
        of_block = [point for point in points if point["block"] == block]
        axes.plot([p["bytes"] / 2**20 for p in of_block], [p["seconds"] for p in of_block], marker="o",
                  markersize=3, label="one count a block" if block == 1 else f"{block} counts a block")
    axes.set(title="recovery", xlabel="log, MiB", ylabel="s")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()


def soak(figure, data):
    looks = data["looks"]
    minutes = [(i + 0.5) * data["slice"] / 60 for i in range(len(looks))]
    for axes, names, label in zip(figure.subplots(1, 3), (("mib",), ("descriptors",), ("p50_ms", "p99_ms")),
                                  ("resident MiB", "descriptors", "ms beyond the second")):
        for name in names:
            axes.plot(minutes, [look[name] for look in looks], label=name.removesuffix("_ms"))
        axes.set(xlabel="minutes", ylabel=label)
        axes.set_ylim(bottom=0)
    axes.legend()
    figure.suptitle("soak")


DRAWINGS = {"calls": ("calls", calls), "counts": ("counts", counts), "latency": ("counts", distribution),
            "memory": ("memory", memory), "recovery": ("recovery", recovery), "soak": ("soak", soak)}


def draw(data, folder):
    """One file for each drawing that there is data for. Returns their paths."""
    paths = []
    for name, (source, drawing) in DRAWINGS.items():
        if not data.get(source):
            continue
        figure = Figure(figsize=(9, 4), layout="constrained")
        drawing(figure, data[source])
        for axes in figure.axes:
            axes.grid(alpha=0.3)
        paths.append(os.path.join(folder, f"{name}.svg"))
        figure.savefig(paths[-1], metadata={"Date": None})
    return paths
