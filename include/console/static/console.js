// The console's one script: theme, charts, live parts, links out of Airflow's frame, filter, times. Speaks to its own
// origin only. A page without it is whole: tables instead of charts, and a reload instead of live parts.
"use strict";

(() => {
  const EVERY = 5000; // ms between two looks, doubled after each failure up to LATEST
  const LATEST = 60000;
  const framed = window.parent !== window;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // -- theme: Airflow's, which it keeps as a class of its <html>; else as it stores it; else the system's ------------
  function theme() {
    try {
      const classes = window.parent.document.documentElement.classList;
      const stored = localStorage.getItem("theme");
      if (framed && classes.contains("dark")) return "dark";
      if (framed && classes.contains("light")) return "light";
      if (stored === "dark" || stored === "light") return stored;
    } catch {
      /* another origin's frame: the system's theme it is */
    }
    return "";
  }

  function dress() {
    const found = theme();
    if (found) document.documentElement.dataset.theme = found;
    else delete document.documentElement.dataset.theme;
  }

  dress();
  try {
    if (framed) {
      const watched = { attributes: true, attributeFilter: ["class"] };
      new MutationObserver(dress).observe(window.parent.document.documentElement, watched);
    }
    addEventListener("storage", dress);
  } catch {
    /* as above */
  }

  // -- wall times: as format.ago says them ----------------------------------------------------------------------------
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]; // prettier-ignore

  function ago(seconds) {
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [length, name] = UNITS.find(([least]) => size >= least);
    const text = `${Math.floor(size / length).toLocaleString("en")} ${name}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }

  function tick(root = document) {
    for (const time of all("time.wall", root)) {
      const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // -- charts ---------------------------------------------------------------------------------------------------------
  let library;

  function vega() {
    library ??= new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = document.body.dataset.vega;
      script.onload = () => loaded(window.vegaEmbed);
      script.onerror = () => failed(new Error("the script of the charts could not be loaded"));
      document.head.append(script);
    });
    return library;
  }

  function fitted(spec, width) {
    // Vega-Lite knows no width of "container" for charts below one another
    return JSON.parse(JSON.stringify(spec), (key, value) =>
      key === "width" && value === "container" ? Math.max(width, 160) : value,
    );
  }

  async function draw(chart) {
    const spec = JSON.parse(chart.querySelector("script").textContent);
    const width = chart.clientWidth;
    if (!width || Math.abs(width - (chart.drawnAt ?? 0)) < 8) return;
    chart.drawnAt = width;
    const axis = Number(spec.usermeta?.axis ?? 60);
    const options = {
      actions: false,
      ast: true, // no eval: the page's policy forbids it
      defaultStyle: false,
      renderer: "svg",
      tooltip: { disableDefaultStyle: true, theme: "page" },
    };
    try {
      const embed = await vega();
      const place = chart.querySelector(".drawing") ?? document.createElement("div");
      place.className = "drawing";
      place.setAttribute("aria-hidden", "true"); // the label of the chart and its table speak for it
      chart.append(place);
      chart.view?.finalize();
      chart.view = await embed(place, fitted(spec, width - axis), options);
      chart.querySelector(".loading")?.remove();
      chart.dataset.drawn = "yes";
    } catch (error) {
      chart.drawnAt = 0;
      chart.dataset.drawn = "no";
      const note = chart.querySelector(".loading");
      if (note) note.textContent = `The chart could not be drawn (${error.message}). The table below says the same.`;
    }
  }

  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
  const charts = (root = document) => all("[data-chart]", root).forEach((chart) => sizes.observe(chart));

  // -- live parts: the same page again, only if it changed; what differs is put in, what someone does is left alone ----
  let etag;
  let failures = 0;
  let seen = Date.now();

  function pulse() {
    const place = document.getElementById("pulse");
    place.hidden = false;
    place.classList.toggle("late", failures > 0);
    const text = failures ? `no answer since ${ago((Date.now() - seen) / 1000)}; trying again` : "live";
    const told = document.getElementById("pulse-text");
    if (told.textContent !== text) told.textContent = text;
  }

  async function look() {
    if (!document.hidden) {
      try {
        const headers = etag ? { "If-None-Match": etag } : {};
        const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
        if (answer.status !== 304) {
          if (!answer.ok) throw new Error(`answered ${answer.status}`);
          swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
          etag = answer.headers.get("ETag") ?? etag;
        }
        failures = 0;
        seen = Date.now();
      } catch {
        failures += 1;
      }
      pulse();
    }
    setTimeout(look, Math.min(EVERY * 2 ** failures, LATEST));
  }

  function swap(fresh) {
    const parts = all("[data-live]", fresh);
    for (const part of parts) {
      const old = document.getElementById(part.id);
      if (old) morph(old, part);
    }
    tick();
    charts();
    filter();
  }

  const named = (node) => (node.nodeType === 1 ? `${node.nodeName}#${node.id}` : `${node.nodeType}`);

  function morph(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.matches("input, textarea, select, time.wall")) {
      if (old.dateTime && old.dateTime !== fresh.dateTime) replace(old, fresh);
      return; // what is being typed stays; a time ticks by itself
    }
    if (old.hasAttribute("data-chart")) {
      if (old.querySelector("script").textContent === fresh.querySelector("script").textContent) return;
      old.querySelector("script").textContent = fresh.querySelector("script").textContent;
      old.drawnAt = 0;
      draw(old);
      return;
    }
    for (const { name } of [...old.attributes]) {
      const ours = (name === "open" && old.nodeName === "DETAILS") || (name === "hidden" && old.matches("[data-filter], .copy"));
      if (!ours && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !(name === "hidden" && old.matches("[data-filter], .copy"))) old.setAttribute(name, value);
    }
    children(old, fresh);
  }

  function children(old, fresh) {
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      if (next.id) {
        const moved = [...old.children].find((child) => child.id === next.id);
        if (moved && moved !== at) old.insertBefore(moved, at);
        if (moved) at = moved;
      }
      if (at && named(at) === named(next)) {
        const after = at.nextSibling;
        morph(at, next);
        at = after;
      } else {
        old.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  }

  function replace(old, fresh) {
    old.replaceWith(document.importNode(fresh, true));
  }

  // -- links out of Airflow's frame, which may neither open windows nor move the page above: the page above does -------
  function leave(event) {
    const link = event.target.closest("a[data-where]");
    if (!link || event.button > 1 || link.dataset.where === "console") return;
    const beside = event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
    const away = link.dataset.where !== "airflow";
    if (!framed) return;
    try {
      const door = window.parent.document.createElement("a");
      door.href = link.href;
      if (beside || away) door.target = "_blank";
      door.rel = "noopener";
      window.parent.document.body.append(door);
      event.preventDefault();
      door.click();
      door.remove();
    } catch {
      /* another origin's frame: the link opens in it */
    }
  }

  // -- small things -----------------------------------------------------------------------------------------------------
  function filter() {
    const field = document.getElementById("filter");
    if (!field) return;
    field.closest("[hidden]")?.removeAttribute("hidden");
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = all("[data-filter]");
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const told = words.length ? `${shown} of ${rows.length}` : "";
    const place = document.getElementById("filter-count");
    if (place.textContent !== told) place.textContent = told;
  }

  function clicked(event) {
    leave(event);
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard?.writeText(copy.dataset.copy).then(() => (copy.textContent = "copied"), () => {});
    }
    const opener = event.target.closest("[data-open]");
    const opened = opener && document.getElementById(opener.dataset.open);
    if (opened) {
      event.preventDefault();
      opened.open = true;
      opened.querySelector("textarea, input:not([type=hidden])")?.focus();
    }
    for (const action of all("details.action[open]")) {
      if (!action.contains(event.target) && action !== opened) action.open = false;
    }
  }

  function pressed(event) {
    const open = event.key === "Escape" && document.querySelector("details.action[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  }

  function sent(event) {
    // the same form again would make no second run, but would look as if
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = event.target.method === "post" ? "yes" : "";
  }

  addEventListener("DOMContentLoaded", () => {
    etag = document.body.dataset.etag ? `"${document.body.dataset.etag}"` : undefined;
    if (navigator.clipboard) all(".copy").forEach((button) => (button.hidden = false));
    charts();
    tick();
    filter();
    document.getElementById("filter")?.addEventListener("input", filter);
    addEventListener("click", clicked);
    addEventListener("auxclick", leave);
    addEventListener("keydown", pressed);
    addEventListener("submit", sent);
    addEventListener("pageshow", () => all("form").forEach((form) => delete form.dataset.sent)); // back again
    setInterval(tick, 1000);
    if (document.body.dataset.livePage === "yes") {
      setTimeout(look, EVERY);
      pulse();
    }
  });
})();
