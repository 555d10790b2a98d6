"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const colours = ["#3b8bc4", "#e07b39", "#35b779", "#b07cc6"];
const drawn = new Map();  // what to draw again when the window's width or the theme changes, by where it stands
const make = (tag, text, parent) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};
const plain = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const digits = value => value == null ? "" : Number(value.toPrecision(4)).toLocaleString("en", {maximumSignificantDigits: 4});

function layout(height) {
  const style = getComputedStyle(document.body), grid = "rgba(128,128,128,.25)";
  const axis = {automargin: true, gridcolor: grid, linecolor: style.color, zeroline: false, ticks: "outside", exponentformat: "SI"};
  return {
    height, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {family: "system-ui, sans-serif", size: 12, color: style.color},
    margin: {l: 50, r: 12, t: 30, b: 40}, xaxis: {...axis}, yaxis: {...axis}, hovermode: "closest",
    legend: {orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom"},
    hoverlabel: {bgcolor: style.backgroundColor, bordercolor: style.color, font: {color: style.color}, align: "left", namelength: -1},
  };
}
const settings = {displaylogo: false, displayModeBar: false, responsive: false};

function show(place, draw) {
  drawn.set(place, draw);
  const [traces, how] = draw(Math.max(place.clientWidth, 200));
  Plotly.react(place, traces, how, settings);
}

function span(values, log) {  // the ends of an axis, with room at both
  const there = values.filter(value => value != null && (!log || value > 0)).map(value => log ? Math.log10(value) : value);
  if (!there.length) return undefined;
  const low = Math.min(...there), high = Math.max(...there), room = Math.max((high - low) * .07, log ? .04 : Math.abs(high) * .02) || 1;
  return [low - room, high + room];
}

function sideBySide(values, ends, log) {  // points of equal cost move apart, so that their intervals can be read
  const at = values.map(value => value == null ? null : log ? Math.log10(value) : value), width = ends[1] - ends[0];
  const order = at.map((_, index) => index).filter(index => at[index] != null && isFinite(at[index])).sort((a, b) => at[a] - at[b]);
  const moved = values.slice();
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && at[order[end]] - at[order[start]] < .006 * width) end++;
    const step = Math.min(.014, .08 / (end - start)) * width;
    for (let each = start; each < end; each++) {
      const place = at[order[each]] + (each - start - (end - start - 1) / 2) * step;
      moved[order[each]] = log ? 10 ** place : place;
    }
    start = end;
  }
  return moved;
}

function ticks(axis, ends, log) {
  if (!log) return;
  if (ends[1] - ends[0] > 2.5) { axis.dtick = 1; return; }
  const found = [];
  for (let power = Math.floor(ends[0]); power <= ends[1]; power++)
    for (const digit of ends[1] - ends[0] < .8 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5]) {
      const value = digit * 10 ** power;
      if (Math.log10(value) >= ends[0] && Math.log10(value) <= ends[1]) found.push(value);
    }
  Object.assign(axis, {tickvals: found, ticktext: found.map(digits)});
}

function scatter(chart, key) {
  return width => {
    const axis = chart.axes.find(each => each.key === key), titles = data.layers[chart.titles];
    const how = layout(width < 560 ? 320 : 400), ends = span(axis.values, axis.log);
    const all = [...chart.values, ...(chart.low ?? []), ...(chart.high ?? []), ...Object.values(chart.reference)];
    const x = chart.low ? sideBySide(axis.values, ends, axis.log) : axis.values, best = new Set(axis.best);
    Object.assign(how.xaxis, {title: {text: plain(axis.label)}, type: axis.log ? "log" : "linear", range: ends});
    Object.assign(how.yaxis, {title: {text: plain(chart.label)}, type: chart.log ? "log" : "linear", range: span(all, chart.log)});
    ticks(how.xaxis, ends, axis.log);
    if (chart.log) ticks(how.yaxis, how.yaxis.range, true);
    const about = titles.map((title, index) => [
      `<b>${plain(title)}</b>`,
      `${plain(chart.label)}: ${digits(chart.values[index])}` + (chart.low ? ` [${digits(chart.low[index])}, ${digits(chart.high[index])}]` : ""),
      ...chart.axes.filter(each => each.values[index] != null).map(each => `${plain(each.label)}: ${digits(each.values[index])}`),
    ].join("<br>"));
    const order = axis.values.map((_, index) => index).filter(index => axis.values[index] != null).sort((a, b) => x[a] - x[b]);
    const traces = [];
    for (const [chosen, name] of [[false, chart.bestLabel ? "others" : ""], [true, chart.bestLabel]]) {
      const some = order.filter(index => best.has(index) === chosen);
      if (!some.length) continue;
      const pick = values => some.map(index => values[index]);
      traces.push({
        type: "scatter", mode: chosen && some.length > 1 && chart.bestLabel !== "kept" ? "lines+markers" : "markers", name, x: pick(x), y: pick(chart.values),
        text: pick(about), hovertemplate: "%{text}<extra></extra>", showlegend: Boolean(chart.bestLabel), line: {width: 1},
        marker: {size: 8, color: colours[chosen ? 1 : 0], symbol: chosen ? "diamond" : "circle"},
        error_y: chart.low ? {
          type: "data", symmetric: false, array: some.map(index => chart.high[index] - chart.values[index]),
          arrayminus: some.map(index => chart.values[index] - chart.low[index]), thickness: 1, width: 3, color: colours[chosen ? 1 : 0] + "99",
        } : undefined,
      });
    }
    const edges = axis.log ? ends.map(end => 10 ** end) : ends;
    for (const [name, value] of Object.entries(chart.reference)) traces.push(across(name, value, edges, how.font.color));
    return [traces, how];
  };
}

function across(name, value, ends, colour) {  // a line that the legend names
  return {type: "scatter", mode: "lines", name: plain(`${name} ${digits(value)}`), x: ends, y: [value, value], line: {dash: "dash", width: 1.5, color: colour},
    hovertemplate: `${plain(name)} %{y:.5~g}<extra></extra>`};
}

function short(name, most) {  // names of layers differ at their ends
  return name.length > most ? "…" + name.slice(1 - most) : name;
}

function byLayer(entries) {  // [chart, title of its run] of one or two runs
  return width => {
    const several = entries.length > 1, how = layout(width < 560 ? 320 : 360), chart = entries[0][0];
    const names = [...new Set(entries.flatMap(([each]) => data.layers[each.layers]))];
    const place = new Map(names.map((name, index) => [name, index])), traces = [];
    const means = [], count = entries.reduce((sum, [each]) => sum + each.series.length, 0);
    for (const [each, title] of entries)
      for (const series of each.series) {
        const own = data.layers[each.layers], colour = colours[traces.length % colours.length];
        const name = !several ? series.label : each.series.length > 1 ? `${title}: ${series.label}` : title;
        // A bar has no end on an axis of powers of ten: dots there.
        const mark = chart.log ? {type: "scatter", mode: "markers", marker: {color: colour, size: 8}} : {type: "bar", marker: {color: colour}};
        const moved = chart.log ? (traces.length - (count - 1) / 2) * .22 : 0;
        traces.push({
          ...mark, name: plain(short(name, Math.max(24, Math.floor(width / 8)))), x: own.map(layer => place.get(layer) + moved), y: series.values,
          text: own.map(plain), ...(chart.log ? {} : {textposition: "none"}),
          hovertemplate: `<b>%{text}</b><br>%{y:.4~g}${series.low ? " (%{customdata})" : ""}<extra>${plain(name)}</extra>`,
          customdata: series.low ? series.low.map((low, index) => `${digits(low)} to ${digits(series.high[index])}`) : undefined,
          error_y: series.low ? {
            type: "data", symmetric: false, array: series.high.map((high, index) => high - series.values[index]),
            arrayminus: series.low.map((low, index) => series.values[index] - low), thickness: 1, width: 2, color: chart.log ? colour : how.font.color,
          } : undefined,
        });
        if (series.mean != null) means.push(across(series.meanLabel, series.mean, [-.7, names.length - .3], several ? colour : how.font.color));
      }
    const every = Math.ceil(names.length / Math.max(Math.floor((width - 70) / 15), 1));
    const ticked = names.map((_, index) => index).filter(index => index % every === 0);
    Object.assign(how, {showlegend: traces.length + means.length > 1, barmode: "group", bargap: .25});
    Object.assign(how.xaxis, {
      tickvals: ticked, ticktext: ticked.map(index => plain(short(names[index], width < 560 ? 14 : 22))), tickangle: -90,
      range: [-.7, names.length - .3], tickfont: {size: 10}, showgrid: false,
    });
    Object.assign(how.yaxis, {title: {text: plain(chart.label)}, type: chart.log ? "log" : "linear"});
    if (chart.log) {
      how.yaxis.range = span(entries.flatMap(([each]) => each.series.flatMap(series => [...series.values, ...(series.low ?? []), ...(series.high ?? [])])), true);
      ticks(how.yaxis, how.yaxis.range, true);
    }
    return [[...traces, ...means], how];
  };
}

function picture(parent, caption) {
  const figure = make("figure", undefined, parent), choice = make("p", undefined, figure), plot = make("div", undefined, figure);
  choice.className = "choice", plot.className = "plot", choice.hidden = true;
  make("figcaption", caption, figure);
  return [choice, plot];
}

function choose(select, chart, plot) {  // what the points are drawn against
  for (const axis of chart.axes) select.add(new Option(axis.label, axis.key));
  const draw = () => show(plot, scatter(chart, select.value));
  select.addEventListener("change", draw);
  draw();
}

for (const figure of document.querySelectorAll("figure[data-front]"))
  choose(figure.querySelector("select"), data.fronts[figure.dataset.front], figure.querySelector(".plot"));

const first = document.getElementById("first"), second = document.getElementById("second");
function chosen() {
  return [data.runs[first.value], second.value === "" ? undefined : data.runs[second.value]].filter((run, index, all) => run && all.indexOf(run) === index);
}

function showLayers() {
  const runs = chosen(), parent = document.getElementById("charts");
  for (const plot of parent.querySelectorAll(".plot")) { drawn.delete(plot); Plotly.purge(plot); }
  parent.replaceChildren();
  const names = new Set(runs.flatMap(run => run.charts.map(chart => chart.name)));
  for (const name of names) {
    const entries = runs.map(run => [run.charts.find(chart => chart.name === name), run.title]).filter(([chart]) => chart);
    if (entries[0][0].series) {
      const [, plot] = picture(parent, entries.map(([chart]) => chart.caption).sort((a, b) => b.length - a.length)[0]);
      show(plot, byLayer(entries));
      continue;
    }
    for (const [chart, title] of entries) {
      const [choice, plot] = picture(parent, entries.length > 1 ? `${title}: ${chart.caption}` : chart.caption);
      choice.hidden = false;
      const label = make("label", "against ", choice);
      choose(make("select", undefined, label), chart, plot);
    }
  }
  showNotes(runs);
  showCard(runs);
}

function showNotes(runs) {
  const list = document.getElementById("notes");
  list.replaceChildren();
  for (const run of runs) {
    for (const note of run.notes) make("li", `${runs.length > 1 ? `${run.title}: ` : ""}${data.texts[note]}`, list);
  }
}

function showCard(runs) {
  const card = document.getElementById("card"), texts = data.texts, two = runs.length > 1, rows = new Map();
  const choice = document.getElementById("differing"), alone = two && choice.querySelector("input").checked;
  choice.hidden = !two;
  runs.forEach((run, index) => {
    for (const [section, name, text] of run.card) {
      const key = `${section} ${name}`;
      if (!rows.has(key)) rows.set(key, [texts[section], texts[name], ...runs.map(() => "-")]);
      rows.get(key)[2 + index] = texts[text];
    }
  });
  card.replaceChildren();
  if (two) {
    const head = make("tr", undefined, card);
    make("th", "", head);
    for (const run of runs) make("th", run.title, head);
  }
  let last;
  for (const [section, name, ...values] of rows.values()) {
    const differs = two && values[0] !== values[1];
    if (alone && !differs) continue;
    if (section !== last) {
      const row = make("tr", undefined, card);
      row.className = "section";
      make("th", section, row).colSpan = 1 + values.length;
      last = section;
    }
    const row = make("tr", undefined, card);
    if (differs) row.className = "differs";
    make("th", name, row).scope = "row";
    for (const value of values) make("td", value, row);
  }
}

if (first) {
  data.runs.forEach((run, index) => { first.add(new Option(run.title, index)); second.add(new Option(run.title, index)); });
  first.addEventListener("change", showLayers);
  second.addEventListener("change", showLayers);
  document.querySelector("#differing input").addEventListener("change", () => showCard(chosen()));
  showLayers();
}
for (const link of document.querySelectorAll("a[data-run]")) {
  const index = data.runs.findIndex(run => run.name === link.dataset.run);
  if (index < 0) { if (data.runs.length !== 1) link.removeAttribute("href"); continue; }
  link.addEventListener("click", () => { first.value = index; showLayers(); });
}

document.getElementById("all")?.addEventListener("change", event => document.querySelector(".results").classList.toggle("all", event.target.checked));
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(each => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const x = key(a), y = key(b), p = parseFloat(x), q = parseFloat(y);
      return isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
    };
    body.append(...[...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)));
  }));
}

const again = () => { for (const [place, draw] of drawn) show(place, draw); };
let width = window.innerWidth, waiting;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return;
  width = window.innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(again, 150);
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
