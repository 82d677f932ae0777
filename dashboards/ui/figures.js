// Curves and intervals. Text of the data is only ever written as text, never read as HTML.
const SVG = "http://www.w3.org/2000/svg";
const LETTER = 6.3;  // pixels that a letter takes on average
const watched = new WeakMap();

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".figure");
  const [legend, place, tip, larger] = [".legend", ".place", ".tip", ".larger"].map((name) => root.querySelector(name));
  let drawn = 0, marks = [], at = -1;

  const signs = (text) => text.replace(/[.,]/g, (sign) => (sign === "." ? data.decimal : data.thousands));
  const grouped = (text) => {
    const [whole, rest] = text.split(".");
    return signs(whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest === undefined ? "" : "." + rest));
  };
  const number = (value) => {
    const size = Math.abs(value);
    return size && (size >= 1e7 || size < 1e-4) ? signs(value.toExponential(2)) : grouped(String(Number(value.toPrecision(4))));
  };
  const element = (name, attributes, into, text) => {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    into?.append(made);
    return made;
  };
  const html = (name, className, into, text) => {
    const made = document.createElement(name);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    into.append(made);
    return made;
  };
  const cut = (text, letters) => (text.length <= letters ? text : text.slice(0, Math.max(1, letters - 1)) + "…");

  // A scale from values to pixels: {at, ticks, label}; a tight one ends where the values end.
  const linear = (low, high, from, to, count, tight) => {
    if (!(high > low)) [low, high] = low ? [low - Math.abs(low) / 10, low + Math.abs(low) / 10] : [-0.5, 0.5];
    const rough = (high - low) / count, ten = 10 ** Math.floor(Math.log10(rough)), part = rough / ten;
    const step = ten * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
    const [first, last] = tight
      ? [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)]
      : [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
    const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), begin = tight ? low : first * step;
    const span = (tight ? high : last * step) - begin;
    const label = (tick) => (decimals > 6 || step >= 1e6 ? number(tick) : grouped(tick.toFixed(decimals)));
    return { ticks, label, at: (value) => from + ((value - begin) / span) * (to - from) };
  };
  const logarithmic = (low, high, from, to) => {
    const found = [];
    const least = Math.floor(Math.log10(low)), most = Math.ceil(Math.log10(high));
    for (let ten = least; ten <= most; ten++) {
      for (const part of most - least > 2 ? [1] : [1, 2, 5]) found.push(part * 10 ** ten);
    }
    const begin = Math.max(0, found.findLastIndex((tick) => tick <= low * 1.0001));
    const end = found.findIndex((tick) => tick >= high * 0.9999);
    let ticks = found.slice(begin, (end < 0 ? found.length : end) + 1);
    if (ticks.length < 2) ticks = [low / 2, high * 2];
    const start = Math.log(ticks[0]), span = Math.log(ticks.at(-1)) - start, every = Math.ceil(ticks.length / 7);
    const at = (value) => from + ((Math.log(value) - start) / span) * (to - from);
    return { ticks: ticks.filter((_, i) => i % every === 0), label: number, at };
  };
  const across = (svg, scale, box, title) => {
    for (const tick of scale.ticks) {
      if (box.above) element("text", { x: scale.at(tick), y: box.top - 7, class: "tick", "text-anchor": "middle" }, svg, scale.label(tick));
      element("text", { x: scale.at(tick), y: box.bottom + 16, class: "tick", "text-anchor": "middle" }, svg, scale.label(tick));
    }
    element("text", { x: (box.left + box.right) / 2, y: box.bottom + 34, class: "title", "text-anchor": "middle" }, svg, title);
  };
  const line = (x, y, scaleX, scaleY) => {
    let path = "";
    for (let i = 0; i < x.length; i++) path += `${i ? "L" : "M"}${scaleX.at(x[i]).toFixed(1)},${scaleY.at(y[i]).toFixed(1)}`;
    return path;
  };

  const lines = (svg, width, height) => {
    const xs = data.lines.flatMap((each) => each.x), ys = data.lines.flatMap((each) => [...each.y, ...(each.raw ? each.raw.y : [])]);
    if (!xs.length) return;
    const range = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const box = { top: 8, bottom: height - 42, right: width - 10 };
    const down = (data.log ? logarithmic : linear)(...range(ys), box.bottom, box.top, Math.max(2, Math.min(6, (box.bottom - box.top) / 32)));
    box.left = 26 + LETTER * Math.max(...down.ticks.map((tick) => down.label(tick).length));
    const side = linear(...range(xs), box.left, box.right, Math.max(2, Math.min(6, (box.right - box.left) / 70)), true);
    for (const tick of down.ticks) {
      element("line", { x1: box.left, x2: box.right, y1: down.at(tick), y2: down.at(tick), class: "grid" }, svg);
      element("text", { x: box.left - 6, y: down.at(tick) + 4, class: "tick", "text-anchor": "end" }, svg, down.label(tick));
    }
    across(svg, side, box, data.titles[0]);
    const middle = (box.top + box.bottom) / 2;
    const turned = { x: 11, y: middle, class: "title", "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` };
    element("text", turned, svg, cut(data.titles[1], (box.bottom - box.top) / LETTER));
    for (const each of data.lines) {
      if (each.raw) element("path", { d: line(each.raw.x, each.raw.y, side, down), class: "line raw", stroke: each.colour }, svg);
    }
    for (const each of data.lines) {
      element("path", { d: line(each.x, each.y, side, down), class: "line", stroke: each.colour, "data-name": each.name }, svg);
      if (each.x.length === 1) {  // which a path of one point doesn't show
        element("circle", { cx: side.at(each.x[0]), cy: down.at(each.y[0]), r: 3, fill: each.colour, class: "only", "data-name": each.name }, svg);
      }
    }
    const cross = element("line", { y1: box.top, y2: box.bottom, class: "cross" }, svg);
    const dots = data.lines.map((each) => element("circle", { r: 3.5, fill: each.colour, class: "dot" }, svg));
    const longest = data.lines.reduce((most, each) => (each.x.length > most.x.length ? each : most));
    const nearest = (x, value) => {
      let low = 0, high = x.length - 1;
      while (high - low > 1) {
        const half = (low + high) >> 1;
        if (x[half] <= value) low = half; else high = half;
      }
      return value - x[low] <= x[high] - value ? low : high;
    };
    marks = longest.x.map((value) => ({
      x: side.at(value), y: box.top,
      show: () => {
        html("div", "head", tip, `${data.titles[0]} ${number(value)}`);
        cross.setAttribute("x1", side.at(value));
        cross.setAttribute("x2", side.at(value));
        data.lines.forEach((each, i) => {
          const place = nearest(each.x, value), near = each.x.length && Math.abs(side.at(each.x[place]) - side.at(value)) < 8;
          dots[i].style.display = near ? "inline" : "none";
          if (!near) return;
          dots[i].setAttribute("cx", side.at(each.x[place]));
          dots[i].setAttribute("cy", down.at(each.y[place]));
          row(each.name, each.colour, number(each.y[place]));
        });
      },
    }));
    marks.of = (x) => nearest(marks.map((mark) => mark.x), x);
  };

  const intervals = (svg, width, height) => {
    const labels = data.labels, letters = Math.max(...labels.map((label) => label.length));
    const above = height > 600;  // its lower end is out of sight
    const box = { above, top: above ? 22 : 6, bottom: height - 42, right: width - 14 };
    box.left = 10 + Math.min(LETTER * letters, 220, width * 0.42);
    const ends = data.rows.flatMap((each) => [each.low ?? each.value, each.high ?? each.value, each.value]).concat(data.zero ? [0] : []);
    const side = linear(Math.min(...ends), Math.max(...ends), box.left, box.right, Math.max(2, Math.min(8, (box.right - box.left) / 70)));
    for (const tick of side.ticks) {
      element("line", { x1: side.at(tick), x2: side.at(tick), y1: box.top, y2: box.bottom, class: "grid" }, svg);
    }
    across(svg, side, box, data.titles[0]);
    if (data.zero) element("line", { x1: side.at(0), x2: side.at(0), y1: box.top, y2: box.bottom, class: "zero" }, svg);
    const band = (box.bottom - box.top) / labels.length, slot = band / (data.names.length + 0.9);
    labels.forEach((label, i) => {
      if (i) element("line", { x1: 0, x2: box.right, y1: box.top + band * i, y2: box.top + band * i, class: "between" }, svg);
      const text = element("text", { x: box.left - 8, y: box.top + band * (i + 0.5) + 4, class: "label", "text-anchor": "end" }, svg);
      text.textContent = cut(label, Math.floor((box.left - 10) / LETTER) + 1);
      element("title", {}, text, label);
    });
    marks = data.rows.map((each) => {
      const y = box.top + band * labels.indexOf(each.label) + slot * (data.names.indexOf(each.name) + 0.95);
      const mark = element("g", { class: "estimate", stroke: each.colour, fill: each.colour, "data-name": each.name }, svg);
      if (each.low !== null) element("line", { x1: side.at(each.low), x2: side.at(each.high), y1: y, y2: y }, mark);
      element("circle", { cx: side.at(each.value), cy: y, r: 4.5, stroke: "none" }, mark);
      const fixed = (value) => grouped(value.toFixed(3)), mark_ = data.decimal === "," ? "; " : ", ";
      const between = each.low === null ? "" : ` [${fixed(each.low)}${mark_}${fixed(each.high)}]`;
      return {
        x: side.at(each.value), y,
        show: () => {
          html("div", "head", tip, each.label);
          row(each.name, each.colour, fixed(each.value) + between);
          mark.classList.add("chosen");
        },
      };
    });
    const order = marks.map((_, i) => i).sort((a, b) => marks[a].y - marks[b].y);
    marks = order.map((i) => marks[i]);
    marks.of = (_, y) => marks.reduce((best, mark, i) => (Math.abs(mark.y - y) < Math.abs(marks[best].y - y) ? i : best), 0);
  };

  const row = (name, colour, value) => {
    const made = html("div", "row", tip);
    html("i", "sign", made).style.background = colour;
    html("span", "name", made, name);
    html("b", "", made, value);
  };
  const hide = () => {
    at = -1;
    tip.style.display = "none";
    root.classList.remove("reading");
    for (const mark of place.querySelectorAll(".chosen")) mark.classList.remove("chosen");
  };
  const show = (number) => {
    const next = Math.max(0, Math.min(marks.length - 1, number));
    if (next === at || !marks.length) return;
    hide();
    at = next;
    tip.replaceChildren();
    root.classList.add("reading");
    marks[at].show();
    tip.style.display = "block";
    const wide = root.clientWidth, left = marks[at].x + 14;
    tip.style.left = (left + tip.offsetWidth > wide ? Math.max(0, marks[at].x - 14 - tip.offsetWidth) : left) + "px";
    tip.style.top = place.offsetTop + Math.min(marks[at].y + 10, Math.max(0, place.clientHeight - tip.offsetHeight)) + "px";
  };

  const draw = () => {
    const whole = root.matches(":fullscreen"), width = root.clientWidth - (whole ? 48 : 0);
    if (!width) return;
    drawn = root.clientWidth;
    hide();
    const height = (whole ? root.clientHeight - 48 : data.height) - legend.offsetHeight;
    const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    (data.rows ? intervals : lines)(svg, width, height);
    place.replaceChildren(svg);
  };

  root.setAttribute("aria-label", data.alt);
  legend.replaceChildren();
  larger.title = data.larger;
  larger.setAttribute("aria-label", data.larger);
  if (data.names.length > 1) {
    data.names.forEach((name, i) => {
      const each = html("span", "each", legend);
      html("i", "sign", each).style.background = data.colours[i];
      html("span", "name", each, name);
      each.onmouseenter = () => {
        for (const mark of place.querySelectorAll("[data-name]")) mark.classList.toggle("faint", mark.dataset.name !== name);
      };
      each.onmouseleave = () => { for (const mark of place.querySelectorAll(".faint")) mark.classList.remove("faint"); };
    });
  }
  place.onpointermove = place.onpointerdown = (event) => {
    const box = place.getBoundingClientRect();
    if (marks.length) show(marks.of(event.clientX - box.left, event.clientY - box.top));
  };
  place.onpointerleave = hide;
  root.onblur = hide;
  root.onkeydown = (event) => {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
    if (event.key === "Escape") hide();
    else if (event.target === root && event.key in steps) {
      event.preventDefault();
      show(at < 0 ? (steps[event.key] < 0 ? marks.length - 1 : 0) : at + steps[event.key]);
    }
  };
  larger.onclick = () => (root.matches(":fullscreen") ? document.exitFullscreen() : root.requestFullscreen());
  root.onfullscreenchange = draw;
  watched.get(root)?.disconnect();
  const watch = new ResizeObserver(() => { if (root.clientWidth !== drawn) draw(); });
  watched.set(root, watch);
  draw();
  watch.observe(root);
  return () => watch.disconnect();
}
