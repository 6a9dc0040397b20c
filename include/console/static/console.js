// The console's one script: theme, charts, live parts, links out of Airflow's frame, filter, times. Speaks to its own
// origin only. A page without it is whole: tables instead of charts, and a reload instead of live parts.
"use strict";

(() => {
  const EVERY = 5000; // ms between two looks, doubled after each failure up to LATEST
  const LATEST = 60000;
  const framed = window.parent !== window;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function write(place, text) {
    if (place.textContent !== text) place.textContent = text; // what is the same is not announced again
  }

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
    document.documentElement.dataset.theme = theme(); // empty: the system's
  }

  dress();
  addEventListener("storage", dress);
  try {
    const watched = { attributes: true, attributeFilter: ["class"] };
    if (framed) new MutationObserver(dress).observe(window.parent.document.documentElement, watched);
  } catch {
    /* as above */
  }

  // -- wall times: as format.ago says them ----------------------------------------------------------------------------
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function ago(seconds) {
    const size = Math.abs(seconds);
    if (size < 5) return "just now";
    const [length, name] = UNITS.find(([least]) => size >= least);
    const text = `${Math.floor(size / length).toLocaleString("en")} ${name}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }

  function tick() {
    for (const time of all("time.wall")) {
      write(time, ago((Date.now() - Date.parse(time.dateTime)) / 1000));
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

  // what is new on the page comes to life
  function enliven() {
    if (navigator.clipboard) all(".copy").forEach((button) => (button.hidden = false));
    all("[data-chart]").forEach((chart) => sizes.observe(chart));
    tick();
    filter();
  }

  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));

  // -- live parts: the same page again, only if it changed; what differs is put in, what someone does is left alone ----
  let etag;
  let failures = 0;
  let ended = false;
  let seen = Date.now();

  function pulse() {
    const place = document.getElementById("pulse");
    place.hidden = false;
    place.classList.toggle("late", failures > 0);
    let text = failures ? `no answer since ${ago((Date.now() - seen) / 1000)}; trying again` : "live";
    if (ended) text = "your session has ended: log in to Airflow again";
    write(document.getElementById("pulse-text"), text);
  }

  async function look() {
    if (!document.hidden) {
      try {
        const headers = etag ? { "If-None-Match": etag } : {};
        const patience = AbortSignal.timeout(LATEST);
        const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error", signal: patience });
        ended = answer.status === 401;
        if (answer.status !== 304) {
          if (!answer.ok) throw new Error(`answered ${answer.status}`);
          if (document.body.dataset.livePage === "wait") return location.reload();
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

  const live = (root) => all("[data-live]", root).map((part) => part.id).join();

  function swap(fresh) {
    const typing = all("textarea").some((field) => field.value);
    if (live(fresh) !== live(document) && !typing) return location.reload(); // a part that was not there before
    const chosen = all("[type=radio]:checked");
    for (const part of all("[data-live]", fresh)) {
      const old = document.getElementById(part.id);
      if (old) morph(old, part);
    }
    for (const choice of chosen) if (choice.isConnected) choice.checked = true; // also beside a new default
    enliven();
  }

  const ours = (node, name) =>
    (name === "open" && node.nodeName === "DETAILS") || (name === "hidden" && node.matches("[data-filter], .copy"));
  const named = (node) => (node.nodeType === 1 ? `${node.nodeName}#${node.id}` : `${node.nodeType}`);

  function morph(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.matches("input, textarea, select, time.wall")) {
      // what is being typed stays, and a time ticks by itself; but a choice never keeps another's value
      const means = (field) => field.matches("[type=radio], [type=hidden]:not([name=once])") && field.getAttribute("value");
      if (old.dateTime !== fresh.dateTime || means(old) !== means(fresh)) old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.hasAttribute("data-chart")) {
      if (old.querySelector("script").textContent === fresh.querySelector("script").textContent) return;
      old.querySelector("script").textContent = fresh.querySelector("script").textContent;
      old.drawnAt = 0;
      draw(old);
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !ours(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !ours(old, name)) old.setAttribute(name, value);
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

  // -- links out of Airflow's frame, which may neither open windows nor move the page above: the page above does -------
  function leave(event) {
    const link = event.target.closest("a[data-where]");
    if (!link || event.button > 1 || link.dataset.where === "console") return;
    if (!framed) return;
    const beside = event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
    try {
      const door = window.parent.document.createElement("a");
      door.href = link.href;
      if (beside || link.dataset.where !== "airflow") door.target = "_blank";
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
    write(document.getElementById("filter-count"), words.length ? `${shown} of ${rows.length}` : "");
  }

  function clicked(event) {
    leave(event);
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard?.writeText(copy.dataset.copy).then(() => (copy.textContent = "copied"), () => {});
    }
    const opened = document.getElementById(event.target.closest("[data-open]")?.dataset.open ?? "");
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
    etag = document.body.dataset.etag;
    if (etag && !etag.endsWith('"')) etag = `"${etag}"`;
    enliven();
    document.getElementById("filter")?.addEventListener("input", filter);
    addEventListener("click", clicked);
    addEventListener("auxclick", leave);
    addEventListener("keydown", pressed);
    addEventListener("submit", sent);
    addEventListener("pageshow", () => all("form").forEach((form) => delete form.dataset.sent)); // back again
    setInterval(tick, 1000);
    if (document.body.dataset.livePage !== "no") {
      setTimeout(look, EVERY);
      pulse();
    }
  });
})();
