// The live page's charts: each [data-chart] draws columns of the JSON at its data-source.
"use strict";
(() => {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  // A custom property that uses light-dark() is resolved only where it is used as a colour.
  const colour = (name) => () => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const line = (label, column, name, dash, digits = 2) => ({
    label, column, stroke: colour(name), width: 1.5, dash, points: { show: false },
    value: (_, v) => (v == null ? "–" : v.toFixed(digits)),
  });
  const KINDS = {
    throughput: {
      series: [{ ...line("decisions/s", "per_second", "series-1", undefined, 0), fill: colour("series-1-fill") }],
      scale: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] },
    },
    latency: {
      series: [
        line("p50", "p50_ms", "series-1"),
        line("p95", "p95_ms", "series-2", [6, 3]),
        line("p99", "p99_ms", "series-3", [2, 2]),
      ],
      scale: { distr: 3, range: (_, low, high) => [10 ** Math.floor(Math.log10(Math.max(0.01, low ?? 1))), (high ?? 10) * 1.4] },
    },
    accuracy: {
      series: [
        { ...line("AP", "average_precision", "series-1", undefined, 3), width: 2.5, points: { show: true, size: 5 } },
        { ...line("precision", "precision", "series-2", [6, 3], 3), points: { show: true, size: 4 } },
        { ...line("recall", "recall", "series-3", [2, 2], 3), points: { show: true, size: 4 } },
      ],
      scale: { range: [0, 1.02] },
      spanGaps: true,
    },
  };

  const axis = (extra) => ({
    stroke: colour("muted"), font: "11px system-ui, sans-serif",
    grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 4 }, ...extra,
  });
  const two = (number) => String(number).padStart(2, "0");
  const day = (date) => `${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  const clock = (date) => `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  // 24 hours and ISO order; the day is written where it changes.
  const times = (_, splits) => {
    const isDays = splits.length > 1 && splits[1] - splits[0] >= 86400;
    return splits.map((seconds, i) => {
      const date = new Date(seconds * 1e3);
      if (isDays) return day(date);
      const isNewDay = i > 0 && day(date) !== day(new Date(splits[i - 1] * 1e3));
      return isNewDay ? `${clock(date)}\n${day(date)}` : clock(date);
    });
  };
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC");

  const draw = (element, kind) => {
    const size = () => ({ width: element.clientWidth, height: 190 });
    const chart = new uPlot({
      ...size(),
      tzDate: utc,
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      legend: { markers: { fill: () => "transparent", dash: (u, i) => ({ 2: "dotted", 6: "dashed" })[u.series[i].dash?.[0]] ?? "solid" } },
      scales: { y: kind.scale },
      axes: [axis({ space: 70, size: 38, values: times }), axis({ size: 46, space: 28 })],
      series: [{ label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" }, ...kind.series.map((s) => ({ spanGaps: !!kind.spanGaps, ...s }))],
    }, [[], ...kind.series.map(() => [])], element);
    new ResizeObserver(() => chart.setSize(size())).observe(element);
    document.addEventListener("themechange", () => chart.redraw(false, true));
    return chart;
  };

  const start = (source, every, members) => {
    const show = (columns) => {
      for (const { element, chart, kind } of members) {
        const data = kind.series.map((s) => columns[s.column] ?? []);
        element.classList.toggle("is-empty", !data.some((column) => column.some((v) => v != null)));
        chart.setData([columns.at, ...data]);
        // Without a pointer on the chart the legend tells the newest point.
        const newest = data[0].findLastIndex((value) => value != null);
        if (chart.cursor.left < 0 && newest >= 0) chart.setLegend({ idx: newest }, false);
        element.dataset.updates = Number(element.dataset.updates ?? 0) + 1;
      }
    };
    const load = async () => {
      try {
        const answer = await fetch(source, { headers: { Accept: "application/json" } });
        if (answer.status === 401) return location.reload();
        if (answer.ok) show(await answer.json());
        window.riskPolling.showConnection(answer.status >= 500);
      } catch {
        window.riskPolling.showConnection(true);
      }
    };
    // The next question waits for the answer, so that a slow server is not asked twice at once.
    const loop = async () => {
      if (!window.riskPolling.isOff()) await load();
      setTimeout(loop, every);
    };
    load().then(() => setTimeout(loop, every));
  };

  const bySource = new Map();
  for (const element of document.querySelectorAll("[data-chart]")) {
    const kind = KINDS[element.dataset.chart];
    const members = bySource.get(element.dataset.source) ?? [];
    members.push({ element, kind, chart: draw(element, kind) });
    bySource.set(element.dataset.source, members);
  }
  for (const [source, members] of bySource) start(source, Number(members[0].element.dataset.every), members);
})();
