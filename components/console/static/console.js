// Times in the reader's zone, charts, and the sums that need a script. Loaded once; works on what htmx brings, too.
"use strict";
(() => {
  const AGES = [
    ["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60],
  ];
  const WHOLE_STEPS = [1, 2, 5].flatMap((one) => Array.from({ length: 13 }, (_, power) => one * 10 ** power)).sort((a, b) => a - b);
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const full = new Intl.DateTimeFormat(undefined, {
    year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });

  function formatAge(moment) {
    const seconds = (moment - Date.now()) / 1000;
    const unit = AGES.find(([, length]) => Math.abs(seconds) >= length);
    return unit ? relative.format(Math.trunc(seconds / unit[1]), unit[0]) : "just now";
  }

  function showTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const text = full.format(moment);
      element.textContent = element.dataset.style === "age" ? formatAge(moment) : text;
      element.title = text;
    }
  }

  function getColour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function drawCharts(root) {
    for (const place of root.querySelectorAll("[data-chart]:empty")) {
      const source = document.getElementById(place.dataset.chart);
      if (!window.uPlot || !source) continue;
      const { x: label, y: unit, series } = JSON.parse(source.textContent);
      const xs = [...new Set(series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
      const columns = series.map((one) => {
        const known = new Map(one.points);
        return xs.map((x) => known.get(x) ?? null);
      });
      const isWhole = series.every((one) => one.points.every(([, y]) => Number.isInteger(y)));
      const axis = { stroke: getColour("--muted"), grid: { stroke: getColour("--line"), width: 1 }, ticks: { show: false } };
      new window.uPlot({
        width: place.clientWidth || 320,
        height: 220,
        scales: { x: { time: false } },
        cursor: { drag: { x: false, y: false } },
        axes: [{ ...axis, incrs: WHOLE_STEPS }, { ...axis, size: 56, incrs: isWhole ? WHOLE_STEPS : undefined, label: unit, labelSize: 18, labelFont: "12px system-ui, sans-serif" }],
        series: [
          { label },
          ...series.map((one, index) => ({
            label: one.label, stroke: getColour(`--series-${(index % 6) + 1}`), width: 2, spanGaps: true,
            dash: one.dashed ? [4, 4] : undefined, points: { show: xs.length < 30, size: 5 },
          })),
        ],
      }, [xs, ...columns], place);
    }
  }

  function prepare(root) {
    showTimes(root);
    drawCharts(root);
  }

  document.addEventListener("DOMContentLoaded", () => prepare(document));
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
  document.addEventListener("toggle", (event) => { if (event.target.open) drawCharts(event.target); }, true);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const place of document.querySelectorAll("[data-chart]")) place.replaceChildren();
    drawCharts(document);
  });

  // A part of a page that refreshes itself keeps its tables open; if it cannot be refreshed it stays, and says so.
  let openTables = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    openTables = [...event.detail.target.querySelectorAll("details[id][open]")].map((one) => one.id);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of openTables.splice(0)) document.getElementById(id)?.setAttribute("open", "");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, successful, xhr } = event.detail;
    if (!elt.matches("[data-refresh]")) return;
    const note = elt.querySelector("[role=status]");
    if (note.hidden && !successful) {
      const why = xhr.status ? `the console answered with status ${xhr.status}` : "the console does not answer";
      note.textContent = `Not refreshed since ${full.format(Date.now())}: ${why}.`;
    }
    note.hidden = successful;
  });

  // htmx does not swap answers that are errors; the console's error pages are worth showing.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, xhr } = event.detail;
    if (xhr.status < 400 || xhr.getResponseHeader("HX-Redirect") || elt.matches("[data-refresh]")) return;
    document.open();
    document.write(xhr.responseText);
    document.close();
  });
})();
